variable "name" {
  description = "The name of everything made here; also that of the task's role."
  type        = string
  default     = "bedrock-meter"
}

variable "image" {
  description = "The image, built from deploy/Dockerfile and pushed to a registry."
  type        = string
}

variable "region" {
  description = "The region of this deployment and of calls that name none."
  type        = string
}

variable "vpc_id" {
  description = "The VPC."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets of the load balancer. The task runs in the first: its volume lies in one zone."
  type        = list(string)
}

variable "client_cidrs" {
  description = "Networks whose clients may call. Their word is taken for the tenant."
  type        = list(string)
}

variable "cluster_arn" {
  description = "An ECS cluster with the container instance described in docs/deploy.md."
  type        = string
}

variable "admin_token_secret_arn" {
  description = "The Secrets Manager secret with the admin listener's token."
  type        = string
}

variable "instance_attribute" {
  description = "The custom attribute of the container instance that holds the ledger's volume."
  type        = string
  default     = "bedrock-meter-ledger"
}

variable "drain_timeout_seconds" {
  description = "[shutdown] drain_timeout of the configuration in the image."
  type        = number
  default     = 900
}

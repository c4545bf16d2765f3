output "url" {
  description = "What AWS_ENDPOINT_URL_BEDROCK_RUNTIME begins with."
  value       = "http://${aws_lb.this.dns_name}:8080"
}

output "task_role_arn" {
  description = "The role to except in deploy/iam/deny-direct.json."
  value       = aws_iam_role.task.arn
}

resource "aws_cloudwatch_log_group" "this" {
  name              = "/${var.name}"
  retention_in_days = 30
}

resource "aws_security_group" "task" {
  name_prefix = "${var.name}-"
  vpc_id      = var.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "data" {
  for_each          = toset(var.client_cidrs)
  security_group_id = aws_security_group.task.id
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = 8080
  to_port           = 8080
}

# The load balancer's health checks come from its own addresses in these subnets.
resource "aws_vpc_security_group_ingress_rule" "health" {
  for_each          = data.aws_subnet.balancer
  security_group_id = aws_security_group.task.id
  cidr_ipv4         = each.value.cidr_block
  ip_protocol       = "tcp"
  from_port         = 8081
  to_port           = 8081
}

resource "aws_vpc_security_group_egress_rule" "https" {
  security_group_id = aws_security_group.task.id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

data "aws_subnet" "balancer" {
  for_each = toset(var.subnet_ids)
  id       = each.value
}

resource "aws_ecs_task_definition" "this" {
  family                   = var.name
  requires_compatibilities = ["EC2"]
  network_mode             = "awsvpc"
  cpu                      = 1024
  memory                   = 1024
  task_role_arn            = aws_iam_role.task.arn
  execution_role_arn       = aws_iam_role.execution.arn

  # A local disk that outlives the task: SQLite must not lie on EFS.
  volume {
    name      = "ledger"
    host_path = "/var/lib/bedrock-meter"
  }

  container_definitions = jsonencode([{
    name                   = "bedrock-meter"
    image                  = var.image
    essential              = true
    user                   = "65532:65532"
    readonlyRootFilesystem = true
    # The drain delay, the drain timeout, and a margin to commit what is left.
    stopTimeout  = 5 + var.drain_timeout_seconds + 55
    environment  = [{ name = "AWS_REGION", value = var.region }]
    secrets      = [{ name = "BEDROCK_METER_ADMIN_TOKEN", valueFrom = var.admin_token_secret_arn }]
    portMappings = [{ containerPort = 8080 }, { containerPort = 8081 }]
    mountPoints  = [{ sourceVolume = "ledger", containerPath = "/var/lib/bedrock-meter" }]
    linuxParameters = {
      capabilities = { drop = ["ALL"] }
    }
    ulimits = [{ name = "nofile", softLimit = 65536, hardLimit = 65536 }]
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        "awslogs-group"         = aws_cloudwatch_log_group.this.name
        "awslogs-region"        = var.region
        "awslogs-stream-prefix" = "proxy"
      }
    }
  }])
}

resource "aws_ecs_service" "this" {
  name            = var.name
  cluster         = var.cluster_arn
  task_definition = aws_ecs_task_definition.this.arn
  launch_type     = "EC2"
  desired_count   = 1

  # One process owns the ledger: the old task ends before the new one starts.
  deployment_minimum_healthy_percent = 0
  deployment_maximum_percent         = 100
  health_check_grace_period_seconds  = 60

  network_configuration {
    subnets         = [var.subnet_ids[0]]
    security_groups = [aws_security_group.task.id]
  }

  placement_constraints {
    type       = "memberOf"
    expression = "attribute:${var.instance_attribute} exists"
  }

  load_balancer {
    target_group_arn = aws_lb_target_group.data.arn
    container_name   = "bedrock-meter"
    container_port   = 8080
  }

  depends_on = [aws_lb_listener.data]
}

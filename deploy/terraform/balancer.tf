# A network load balancer: it passes connections on unread, so no idle limit shorter than a model's
# thinking gets in between, and clients keep their address.
resource "aws_lb" "this" {
  name               = var.name
  internal           = true
  load_balancer_type = "network"
  subnets            = var.subnet_ids
  # The task stands in one zone.
  enable_cross_zone_load_balancing = true
}

resource "aws_lb_target_group" "data" {
  name               = var.name
  port               = 8080
  protocol           = "TCP"
  target_type        = "ip"
  vpc_id             = var.vpc_id
  preserve_client_ip = "true"

  # As long as a stream may drain; connections are not cut at the end of it either.
  deregistration_delay   = var.drain_timeout_seconds
  connection_termination = false

  health_check {
    protocol            = "HTTP"
    port                = "8081"
    path                = "/readyz"
    interval            = 5
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
}

resource "aws_lb_listener" "data" {
  load_balancer_arn        = aws_lb.this.arn
  port                     = 8080
  protocol                 = "TCP"
  tcp_idle_timeout_seconds = 6000

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.data.arn
  }
}

# Nothing but `wharf env` points the provider at wharf.
terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

provider "aws" {}

variable "revision" {
  default = "1"
}

# The built-in network has no route tables to ask for, as `data "aws_vpc"` does.
variable "vpc_id" {
  type = string
}

data "aws_subnets" "default" {
  filter {
    name   = "vpc-id"
    values = [var.vpc_id]
  }
}

resource "aws_lb" "web" {
  name         = "terraform-web"
  internal     = true
  subnets      = data.aws_subnets.default.ids
  idle_timeout = var.revision == "1" ? 60 : 120
  tags         = { story = "terraform", revision = var.revision }
}

resource "aws_lb_target_group" "web" {
  name                 = "terraform-web"
  port                 = 80
  protocol             = "HTTP"
  target_type          = "ip"
  vpc_id               = var.vpc_id
  deregistration_delay = 0

  health_check {
    path     = "/health"
    interval = var.revision == "1" ? 10 : 20
    matcher  = "200-299"
  }

  stickiness {
    type            = "lb_cookie"
    cookie_duration = 60
  }
}

resource "aws_lb_target_group_attachment" "web" {
  target_group_arn = aws_lb_target_group.web.arn
  target_id        = "10.0.0.9"
  port             = 8080
}

resource "aws_acm_certificate" "web" {
  domain_name       = "web.example"
  validation_method = "DNS"
}

resource "aws_lb_listener" "http" {
  load_balancer_arn = aws_lb.web.arn
  port              = 80
  protocol          = "HTTP"

  default_action {
    type = "redirect"

    redirect {
      port        = "443"
      protocol    = "HTTPS"
      status_code = "HTTP_301"
    }
  }
}

resource "aws_lb_listener" "https" {
  load_balancer_arn = aws_lb.web.arn
  port              = 443
  protocol          = "HTTPS"
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-2-2021-06"
  certificate_arn   = aws_acm_certificate.web.arn

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.web.arn
  }
}

resource "aws_lb_listener_rule" "api" {
  listener_arn = aws_lb_listener.https.arn
  priority     = var.revision == "1" ? 100 : 50

  condition {
    path_pattern {
      values = ["/api/*"]
    }
  }

  condition {
    http_header {
      http_header_name = "X-Version"
      values           = ["1", "2"]
    }
  }

  action {
    type = "fixed-response"

    fixed_response {
      content_type = "application/json"
      message_body = "{\"revision\": ${var.revision}}"
      status_code  = "200"
    }
  }
}

resource "aws_lb" "flows" {
  name               = "terraform-flows"
  load_balancer_type = "network"
  subnets            = data.aws_subnets.default.ids
}

resource "aws_lb_target_group" "flows" {
  name        = "terraform-flows"
  port        = 53
  protocol    = "TCP_UDP"
  target_type = "ip"
  vpc_id      = var.vpc_id
}

resource "aws_lb_listener" "flows" {
  load_balancer_arn = aws_lb.flows.arn
  port              = 53
  protocol          = "TCP_UDP"

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.flows.arn
  }
}

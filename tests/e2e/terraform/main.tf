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

variable "desired_count" {
  default = 2
}

# Hosts belong to the cluster that `wharf up` registered them in, and a cluster with hosts can't be
# deleted (as in Amazon ECS), so the service goes there and this one is made, changed and deleted.
resource "aws_ecs_cluster" "story" {
  name = "terraform-story"
  tags = { story = "terraform", revision = var.revision }

  setting {
    name  = "containerInsights"
    value = var.revision == "1" ? "disabled" : "enabled"
  }
}

data "aws_ecs_cluster" "host" {
  cluster_name = "default"
}

resource "aws_ecs_task_definition" "hello" {
  family       = "terraform-hello"
  network_mode = "bridge"
  container_definitions = jsonencode([
    {
      name         = "app"
      image        = "hello:latest"
      command      = ["app"]
      cpu          = 16
      memory       = 64
      essential    = true
      portMappings = [{ containerPort = 8080, hostPort = 0 }]
      environment  = [{ name = "VERSION", value = var.revision }]
    },
    {
      name      = "sidecar"
      image     = "hello:latest"
      command   = ["sidecar"]
      memory    = 32
      essential = false
    },
  ])
  tags = { story = "terraform" }
}

resource "aws_ecs_service" "hello" {
  name                  = "terraform-hello"
  cluster               = data.aws_ecs_cluster.host.arn
  task_definition       = aws_ecs_task_definition.hello.arn
  desired_count         = var.desired_count
  launch_type           = "EC2"
  wait_for_steady_state = true
  propagate_tags        = "SERVICE"
  tags                  = { story = "terraform" }

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  timeouts {
    create = "2m"
    update = "2m"
    delete = "2m"
  }
}

resource "aws_ssm_parameter" "password" {
  name        = "/terraform/password"
  description = "a password"
  type        = "SecureString"
  value       = var.revision
  tags = {
    story = "terraform"
  }
}

resource "aws_secretsmanager_secret" "database" {
  name                    = "terraform/database"
  description             = "a database"
  recovery_window_in_days = 0
  tags = {
    story = "terraform"
  }
}

resource "aws_secretsmanager_secret_version" "database" {
  secret_id     = aws_secretsmanager_secret.database.id
  secret_string = jsonencode({ password = aws_ssm_parameter.password.value })
}

output "secret" {
  value = aws_secretsmanager_secret.database.arn
}

# The cluster that `wharf up --cluster shop` joined, managed here, with a service in it: CreateCluster
# of an ACTIVE cluster gives that one, as in Amazon ECS.
terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

provider "aws" {}

resource "aws_ecs_cluster" "shop" {
  name = "shop"

  setting {
    name  = "containerInsights"
    value = "disabled"
  }
}

resource "aws_ecs_task_definition" "hello" {
  family = "shop-hello"
  container_definitions = jsonencode([{
    name         = "app"
    image        = "hello:latest"
    command      = ["app"]
    memory       = 64
    essential    = true
    portMappings = [{ containerPort = 8080, hostPort = 0 }]
  }])
}

resource "aws_ecs_service" "hello" {
  name                  = "shop-hello"
  cluster               = aws_ecs_cluster.shop.id
  task_definition       = aws_ecs_task_definition.hello.arn
  desired_count         = 2
  wait_for_steady_state = true

  timeouts {
    create = "2m"
    delete = "2m"
  }
}

# The roles of an ordinary task, as the usual modules make them.
terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

provider "aws" {}

data "aws_iam_policy_document" "tasks" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ecs-tasks.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "read" {
  statement {
    actions   = ["ecs:List*", "ecs:Describe*"]
    resources = ["*"]
  }
}

resource "aws_iam_role" "task" {
  name                 = "terraform-task"
  path                 = "/story/"
  description          = "for the story"
  max_session_duration = 7200
  assume_role_policy   = data.aws_iam_policy_document.tasks.json
  tags                 = { story = "terraform" }
}

resource "aws_iam_role_policy" "inline" {
  name   = "inline"
  role   = aws_iam_role.task.id
  policy = data.aws_iam_policy_document.read.json
}

resource "aws_iam_policy" "own" {
  name        = "terraform-own"
  description = "of the story"
  policy      = data.aws_iam_policy_document.read.json
}

resource "aws_iam_role_policy_attachment" "own" {
  role       = aws_iam_role.task.name
  policy_arn = aws_iam_policy.own.arn
}

resource "aws_iam_role" "execution" {
  name               = "terraform-execution"
  assume_role_policy = data.aws_iam_policy_document.tasks.json
}

resource "aws_iam_role_policy_attachment" "execution" {
  role       = aws_iam_role.execution.name
  policy_arn = "arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"
}

resource "aws_iam_instance_profile" "host" {
  name = "terraform-host"
  role = aws_iam_role.execution.name
}

resource "aws_ecs_task_definition" "hello" {
  family             = "terraform-identity"
  task_role_arn      = aws_iam_role.task.arn
  execution_role_arn = aws_iam_role.execution.arn
  container_definitions = jsonencode([
    { name = "app", image = "hello:latest", command = ["app"], memory = 64, essential = true },
  ])
}

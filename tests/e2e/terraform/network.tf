# A service in a network of its own: a VPC with two subnets, a way out, and security groups that name
# each other.
terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

provider "aws" {}

variable "cidr" {}

variable "port" {
  default = 8080
}

data "aws_region" "here" {}

data "aws_availability_zones" "zones" {
  state = "available"
}

data "aws_vpc" "default" {
  default = true
}

data "aws_subnets" "default" {
  filter {
    name   = "vpc-id"
    values = [data.aws_vpc.default.id]
  }
}

resource "aws_vpc" "shop" {
  cidr_block           = var.cidr
  enable_dns_hostnames = true
  tags                 = { Name = "shop", port = var.port }
}

resource "aws_subnet" "shop" {
  count                   = 2
  vpc_id                  = aws_vpc.shop.id
  cidr_block              = cidrsubnet(var.cidr, 2, count.index)
  availability_zone       = data.aws_availability_zones.zones.names[count.index]
  map_public_ip_on_launch = count.index == 0
  tags                    = { Name = "shop-${count.index}" }
}

resource "aws_internet_gateway" "shop" {
  vpc_id = aws_vpc.shop.id
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.shop.id

  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.shop.id
  }
}

resource "aws_route_table" "other" {
  vpc_id = aws_vpc.shop.id
}

resource "aws_route" "other" {
  route_table_id         = aws_route_table.other.id
  destination_cidr_block = "192.0.2.0/24"
  gateway_id             = aws_internet_gateway.shop.id
}

resource "aws_route_table_association" "public" {
  subnet_id      = aws_subnet.shop[0].id
  route_table_id = aws_route_table.public.id
}

resource "aws_security_group" "clients" {
  name_prefix = "clients-"
  vpc_id      = aws_vpc.shop.id
}

resource "aws_security_group" "web" {
  name        = "web"
  description = "what clients may reach"
  vpc_id      = aws_vpc.shop.id

  ingress {
    description     = "from clients"
    from_port       = var.port
    to_port         = var.port
    protocol        = "tcp"
    security_groups = [aws_security_group.clients.id]
  }

  egress {
    from_port   = 0
    to_port     = 0
    protocol    = "-1"
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "aws_vpc_security_group_egress_rule" "clients" {
  security_group_id            = aws_security_group.clients.id
  referenced_security_group_id = aws_security_group.web.id
  ip_protocol                  = "tcp"
  from_port                    = var.port
  to_port                      = var.port
  tags                         = { to = "web" }
}

resource "aws_vpc_security_group_ingress_rule" "clients" {
  security_group_id = aws_security_group.clients.id
  cidr_ipv4         = data.aws_vpc.default.cidr_block
  ip_protocol       = "icmp"
  from_port         = 8
  to_port           = -1
}

resource "aws_security_group_rule" "clients" {
  type              = "ingress"
  security_group_id = aws_security_group.clients.id
  protocol          = "udp"
  from_port         = 53
  to_port           = 53
  self              = true
}

resource "aws_ecs_task_definition" "shop" {
  family       = "terraform-shop"
  network_mode = "awsvpc"
  container_definitions = jsonencode([{
    name         = "app"
    image        = "hello:latest"
    command      = ["app"]
    memory       = 64
    portMappings = [{ containerPort = 8080 }]
  }])
}

resource "aws_ecs_service" "shop" {
  name                  = "terraform-shop"
  cluster               = "default"
  task_definition       = aws_ecs_task_definition.shop.arn
  desired_count         = 1
  wait_for_steady_state = true

  network_configuration {
    subnets         = aws_subnet.shop[*].id
    security_groups = [aws_security_group.web.id]
  }
}

output "vpc" {
  value = aws_vpc.shop.id
}

output "default_subnets" {
  value = length(data.aws_subnets.default.ids)
}


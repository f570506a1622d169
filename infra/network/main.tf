# For an account that has none: a network for both environments, and certificates for their names. An administrator applies
# it by hand, once, before the environments; its output `tfvars` is what they ask for. Whoever has a network needs none of it.

terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source = "hashicorp/aws"
      # This one and no other: its checksum is in .terraform.lock.hcl.
      version = "5.100.0"
    }
  }

  # terraform init -backend-config=network.s3.tfbackend
  backend "s3" {
    encrypt      = true
    use_lockfile = true
  }
}

provider "aws" {
  region              = var.region
  allowed_account_ids = [var.account_id]

  default_tags {
    tags = {
      Project   = "rupaya"
      ManagedBy = "terraform"
    }
  }
}

variable "account_id" {
  description = "The AWS account; any other is refused."
  type        = string
  default     = "590184132516"
}

variable "region" {
  description = "The AWS region."
  type        = string
  default     = "us-east-1"
}

variable "cidr" {
  description = "The network's addresses, a /16: one that no network has that this is ever to be joined with."
  type        = string
  default     = "10.42.0.0/16"

  validation {
    condition     = can(cidrsubnet(var.cidr, 8, 0)) && endswith(var.cidr, "/16")
    error_message = "Give a /16, such as 10.42.0.0/16."
  }
}

variable "zones" {
  description = "The two zones, by their letters; named and not asked for, or a zone that AWS adds would move what is there."
  type        = list(string)
  default     = ["a", "b"]

  validation {
    condition     = length(distinct(var.zones)) == 2
    error_message = "Two zones, or one's failure ends the service."
  }
}

variable "egress" {
  description = "How tasks reach AWS: `endpoints`, and nothing else of the internet; or `nat`, a gateway in each zone; or `one-nat`, whose zone's failure takes the way out from both, for its price."
  type        = string
  default     = "endpoints"

  validation {
    condition     = contains(["endpoints", "nat", "one-nat"], var.egress)
    error_message = "Write endpoints, nat or one-nat."
  }
}

variable "hostnames" {
  description = "The names that the environments are reached by; each gets a certificate."
  type        = list(string)
}

variable "zone_name" {
  description = "The public Route 53 zone that these names are in; empty to prove the certificates by hand, where DNS is elsewhere."
  type        = string
  default     = ""
}

locals {
  zones = [for letter in var.zones : "${var.region}${letter}"]
  # The load balancer, tasks, the database; a /24 of each in each zone.
  kinds   = ["public", "task", "database"]
  subnets = { for pair in setproduct(range(3), range(2)) : "${local.kinds[pair[0]]}-${pair[1]}" => { kind = local.kinds[pair[0]], zone = pair[1], number = 10 * pair[0] + pair[1] } }
  nats    = { endpoints = [], nat = ["0", "1"], one-nat = ["0"] }[var.egress]
  # What a task's start asks for: its image, its secrets, and where its lines go.
  endpoints = var.egress == "endpoints" ? toset(["ecr.api", "ecr.dkr", "logs", "secretsmanager"]) : []
}

resource "aws_vpc" "this" {
  # checkov:skip=CKV2_AWS_11: Flow logs cost more than the network; whoever wants them adds them to the account's own.
  cidr_block           = var.cidr
  enable_dns_hostnames = true
  enable_dns_support   = true
  tags                 = { Name = "rupaya" }
}

# Nobody is in it, and it lets nobody in or out.
resource "aws_default_security_group" "this" {
  vpc_id = aws_vpc.this.id
}

resource "aws_subnet" "this" {
  for_each          = local.subnets
  vpc_id            = aws_vpc.this.id
  cidr_block        = cidrsubnet(var.cidr, 8, each.value.number)
  availability_zone = local.zones[each.value.zone]
  tags              = { Name = "rupaya-${each.key}" }
}

resource "aws_internet_gateway" "this" {
  vpc_id = aws_vpc.this.id
  tags   = { Name = "rupaya" }
}

# Each subnet has a table of its own: a database's has no way out at all.
resource "aws_route_table" "this" {
  for_each = local.subnets
  vpc_id   = aws_vpc.this.id
  tags     = { Name = "rupaya-${each.key}" }
}

resource "aws_route_table_association" "this" {
  for_each       = local.subnets
  subnet_id      = aws_subnet.this[each.key].id
  route_table_id = aws_route_table.this[each.key].id
}

resource "aws_route" "public" {
  for_each               = { for name, subnet in local.subnets : name => subnet if subnet.kind == "public" }
  route_table_id         = aws_route_table.this[each.key].id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this.id
}

resource "aws_eip" "nat" {
  for_each = toset(local.nats)
  domain   = "vpc"
  tags     = { Name = "rupaya-nat-${each.key}" }
}

resource "aws_nat_gateway" "this" {
  for_each      = toset(local.nats)
  allocation_id = aws_eip.nat[each.key].id
  subnet_id     = aws_subnet.this["public-${each.key}"].id
  tags          = { Name = "rupaya-${each.key}" }
  depends_on    = [aws_internet_gateway.this]
}

resource "aws_route" "nat" {
  for_each               = { for name, subnet in local.subnets : name => subnet if subnet.kind == "task" && length(local.nats) > 0 }
  route_table_id         = aws_route_table.this[each.key].id
  destination_cidr_block = "0.0.0.0/0"
  nat_gateway_id         = aws_nat_gateway.this[contains(local.nats, tostring(each.value.zone)) ? tostring(each.value.zone) : "0"].id
}

# An image's layers are in S3, and this way to them costs nothing.
resource "aws_vpc_endpoint" "s3" {
  vpc_id            = aws_vpc.this.id
  service_name      = "com.amazonaws.${var.region}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = [for name, subnet in local.subnets : aws_route_table.this[name].id if subnet.kind == "task"]
  tags              = { Name = "rupaya-s3" }
}

resource "aws_security_group" "endpoints" {
  # checkov:skip=CKV2_AWS_5: The endpoints below have it; without them it is made for nobody, and costs nothing.
  name        = "rupaya-endpoints"
  description = "AWS from the tasks"
  vpc_id      = aws_vpc.this.id
}

resource "aws_vpc_security_group_ingress_rule" "endpoints" {
  security_group_id = aws_security_group.endpoints.id
  description       = "HTTPS from the network"
  cidr_ipv4         = var.cidr
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_endpoint" "this" {
  for_each            = local.endpoints
  vpc_id              = aws_vpc.this.id
  service_name        = "com.amazonaws.${var.region}.${each.key}"
  vpc_endpoint_type   = "Interface"
  private_dns_enabled = true
  subnet_ids          = [for name, subnet in local.subnets : aws_subnet.this[name].id if subnet.kind == "task"]
  security_group_ids  = [aws_security_group.endpoints.id]
  tags                = { Name = "rupaya-${each.key}" }
}

# The names

data "aws_route53_zone" "this" {
  count = var.zone_name == "" ? 0 : 1
  name  = var.zone_name
}

resource "aws_acm_certificate" "this" {
  for_each          = toset(var.hostnames)
  domain_name       = each.value
  validation_method = "DNS"

  lifecycle {
    create_before_destroy = true
  }
}

# They stay: the certificate is renewed by them, every year.
resource "aws_route53_record" "validation" {
  for_each        = var.zone_name == "" ? [] : toset(var.hostnames)
  zone_id         = data.aws_route53_zone.this[0].zone_id
  name            = one(aws_acm_certificate.this[each.key].domain_validation_options).resource_record_name
  type            = one(aws_acm_certificate.this[each.key].domain_validation_options).resource_record_type
  records         = [one(aws_acm_certificate.this[each.key].domain_validation_options).resource_record_value]
  ttl             = 300
  allow_overwrite = true
}

resource "aws_acm_certificate_validation" "this" {
  for_each                = var.zone_name == "" ? [] : toset(var.hostnames)
  certificate_arn         = aws_acm_certificate.this[each.key].arn
  validation_record_fqdns = [aws_route53_record.validation[each.key].fqdn]
}

locals {
  subnet_ids = { for kind in local.kinds : kind => [for name, subnet in local.subnets : aws_subnet.this[name].id if subnet.kind == kind] }
}

output "network" {
  description = "What every environment asks for."
  value = {
    vpc_id                   = aws_vpc.this.id
    load_balancer_subnet_ids = local.subnet_ids["public"]
    task_subnet_ids          = local.subnet_ids["task"]
    database_subnet_ids      = local.subnet_ids["database"]
  }
}

output "names" {
  description = "What each environment asks for, by its host name."
  value = {
    for name in var.hostnames : name => {
      hostname        = name
      certificate_arn = var.zone_name == "" ? aws_acm_certificate.this[name].arn : aws_acm_certificate_validation.this[name].certificate_arn
      zone_id         = var.zone_name == "" ? "" : data.aws_route53_zone.this[0].zone_id
    }
  }
}

output "tfvars" {
  description = "Both, to be written into infra/environments/*.tfvars: terraform output -raw tfvars"
  value = join("\n", [
    for name in var.hostnames : <<-HCL
      hostname                 = "${name}"
      certificate_arn          = "${aws_acm_certificate.this[name].arn}"
      zone_id                  = "${var.zone_name == "" ? "" : data.aws_route53_zone.this[0].zone_id}"
      vpc_id                   = "${aws_vpc.this.id}"
      load_balancer_subnet_ids = ${jsonencode(local.subnet_ids["public"])}
      task_subnet_ids          = ${jsonencode(local.subnet_ids["task"])}
      database_subnet_ids      = ${jsonencode(local.subnet_ids["database"])}
    HCL
  ])
}

# What the account has already is taken over and not made: each name here is in `existing` with its address there. An import
# is seen in the plan, and happens once; afterwards an entry says nothing and may stay.

variable "existing" {
  description = "What the account has already, and where: { database = \"rupaya-postgres\", database_password = \"arn:aws:secretsmanager:…\" }. Names must be those that this gives; docs/deploying.md says how to find them."
  type        = map(string)
  default     = {}

  validation {
    condition     = length(setsubtract(keys(var.existing), local.can_exist)) == 0
    error_message = "Known here are ${join(", ", local.can_exist)}."
  }
}

variable "database_other_security_groups" {
  description = "Security groups that an existing database keeps beside its own: whoever reaches it through them still does. Take them out when nobody does."
  type        = list(string)
  default     = []
}

locals {
  can_exist = [
    "cluster", "database", "database_log", "database_password", "database_upgrade_log", "django_secret_key", "log_group",
  ]
  existing = { for name in local.can_exist : name => contains(keys(var.existing), name) ? { only = var.existing[name] } : {} }
}

import {
  for_each = local.existing.cluster
  to       = aws_ecs_cluster.this
  id       = each.value
}

import {
  for_each = local.existing.log_group
  to       = aws_cloudwatch_log_group.this
  id       = each.value
}

import {
  for_each = local.existing.database
  to       = aws_db_instance.this
  id       = each.value
}

import {
  for_each = local.existing.database_log
  to       = aws_cloudwatch_log_group.database["postgresql"]
  id       = each.value
}

import {
  for_each = local.existing.database_upgrade_log
  to       = aws_cloudwatch_log_group.database["upgrade"]
  id       = each.value
}

import {
  for_each = local.existing.database_password
  to       = aws_secretsmanager_secret.database_password
  id       = each.value
}

import {
  for_each = local.existing.django_secret_key
  to       = aws_secretsmanager_secret.django
  id       = each.value
}

# Secrets without their values: Terraform neither writes nor reads any, so that whoever plans needs no right to. deploy/passwords.py
# makes them, once after the first apply and whenever a person wants another; those of an account that has them stay.

# Who serves: two logins in turn, so that a new password takes nothing from running tasks. migrate makes them (docs/runbook.md).
resource "aws_secretsmanager_secret" "service" {
  # checkov:skip=CKV2_AWS_57: deploy/passwords.py changes it, when a person says so; it needs no way to the database, as a rotating function would.
  name        = "rupaya${local.suffix}/db/service"
  description = "DB_CREDENTIALS: user and password of the role that serves"
  kms_key_id  = aws_kms_key.this.arn

  recovery_window_in_days = var.deletion_protection ? 30 : 0
}

# The master's, only where RDS does not keep it itself: in an account from before, until `passwords.py --hand-over`.
resource "aws_secretsmanager_secret" "database_password" {
  # checkov:skip=CKV2_AWS_57: It ends with the hand-over to RDS, which rotates its own.
  name        = "rupaya${local.suffix}/db/password"
  description = "The master user's password, where RDS does not manage it"
  kms_key_id  = aws_kms_key.this.arn
  # As long as it can come back, its name is taken: an environment that may be destroyed may be made again.
  recovery_window_in_days = var.deletion_protection ? 30 : 0
}

resource "aws_secretsmanager_secret" "django" {
  # checkov:skip=CKV2_AWS_57: A new key signs everybody out; that is for a person to decide.
  name        = "rupaya${local.suffix}/django/secret-key"
  description = "SECRET_KEY: signs sessions and tokens"
  kms_key_id  = aws_kms_key.this.arn

  recovery_window_in_days = var.deletion_protection ? 30 : 0
}

# RDS Proxy knows users by secrets of its own, one each: the two logins in turn. They are there without a proxy too, so that
# one can be had at any time. The first is as old as the proxy, and held the master user: that ends with the first renewal.
resource "aws_secretsmanager_secret" "proxy" {
  for_each = { b = "proxy", a = "proxy-2" }
  # checkov:skip=CKV2_AWS_57: It changes with the service's, above.
  name        = "rupaya${local.suffix}/db/${each.value}"
  description = "A user and password that RDS Proxy knows"
  kms_key_id  = aws_kms_key.this.arn

  recovery_window_in_days = var.deletion_protection ? 30 : 0
}

moved {
  from = aws_secretsmanager_secret.proxy
  to   = aws_secretsmanager_secret.proxy["b"]
}

locals {
  # RDS' own, from its birth or since the hand-over: PASSWORD is a key of its JSON.
  master_secret_arn = try(aws_db_instance.this.master_user_secret[0].secret_arn, null)
  master_password = (
    local.master_secret_arn == null ? aws_secretsmanager_secret.database_password.arn : "${local.master_secret_arn}:password::"
  )
}

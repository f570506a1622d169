# Secrets without their values: Terraform neither writes nor reads any, so that whoever plans needs no right to. deploy/passwords.py
# makes them, once after the first apply and whenever a person wants another; those of an account that has them stay.

resource "aws_secretsmanager_secret" "database_password" {
  # checkov:skip=CKV2_AWS_57: Tasks read it at their start; a password that changes by itself would lock running ones out. deploy/passwords.py changes it.
  name        = "rupaya${local.suffix}/db/password"
  description = "The password of rupaya in PostgreSQL"
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

# RDS Proxy wants user and password in one JSON secret. It is there without a proxy too, so that one can be had at any time.
resource "aws_secretsmanager_secret" "proxy" {
  # checkov:skip=CKV2_AWS_57: It changes with the database's password, above.
  name        = "rupaya${local.suffix}/db/proxy"
  description = "The user and password that RDS Proxy knows"
  kms_key_id  = aws_kms_key.this.arn

  recovery_window_in_days = var.deletion_protection ? 30 : 0
}

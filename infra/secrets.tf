# Both values are made by AWS during the first apply, or given, and written without ever being in the state or a plan; a
# later apply writes them again only when their version is raised.

ephemeral "aws_secretsmanager_random_password" "database" {
  provider        = aws.secrets
  count           = var.random_secrets ? 1 : 0
  password_length = 40
  # It is part of nothing that would need escaping then.
  exclude_punctuation = true
}

ephemeral "aws_secretsmanager_random_password" "django" {
  provider            = aws.secrets
  count               = var.random_secrets ? 1 : 0
  password_length     = 64
  exclude_punctuation = true
}

locals {
  database_password = var.random_secrets ? ephemeral.aws_secretsmanager_random_password.database[0].random_password : var.database_password
  django_secret_key = var.random_secrets ? ephemeral.aws_secretsmanager_random_password.django[0].random_password : var.django_secret_key
}

resource "aws_secretsmanager_secret" "database_password" {
  # checkov:skip=CKV2_AWS_57: Tasks read it at their start; a password that changes by itself would lock running ones out. Raise database_password_version instead.
  name        = "rupaya${local.suffix}/db/password"
  description = "The password of rupaya in PostgreSQL"
  kms_key_id  = aws_kms_key.this.arn
}

resource "aws_secretsmanager_secret_version" "database_password" {
  secret_id                = aws_secretsmanager_secret.database_password.id
  secret_string_wo         = local.database_password
  secret_string_wo_version = var.database_password_version
}

resource "aws_secretsmanager_secret" "django" {
  # checkov:skip=CKV2_AWS_57: A new key signs everybody out; that is for a person to decide.
  name        = "rupaya${local.suffix}/django/secret-key"
  description = "SECRET_KEY: signs sessions and tokens"
  kms_key_id  = aws_kms_key.this.arn
}

resource "aws_secretsmanager_secret_version" "django" {
  secret_id                = aws_secretsmanager_secret.django.id
  secret_string_wo         = local.django_secret_key
  secret_string_wo_version = var.django_secret_key_version
}

# RDS Proxy wants user and password in one JSON secret. It is there without a proxy too: the password is a new one in each
# run, so all who hold it must be written in the same one.
resource "aws_secretsmanager_secret" "proxy" {
  # checkov:skip=CKV2_AWS_57: It changes with the database's password, above.
  name        = "rupaya${local.suffix}/db/proxy"
  description = "The user and password that RDS Proxy knows"
  kms_key_id  = aws_kms_key.this.arn
}

resource "aws_secretsmanager_secret_version" "proxy" {
  secret_id = aws_secretsmanager_secret.proxy.id
  secret_string_wo = jsonencode({
    username = aws_db_instance.this.username
    password = local.database_password
  })
  secret_string_wo_version = var.database_password_version
}

resource "aws_db_subnet_group" "this" {
  name        = local.prefix
  description = "rupaya ${var.environment}"
  subnet_ids  = var.database_subnet_ids
}

resource "aws_db_parameter_group" "this" {
  name_prefix = "${local.prefix}-"
  description = "rupaya ${var.environment}"
  family      = "postgres${var.postgres_version}"

  dynamic "parameter" {
    for_each = {
      # No connection without TLS.
      "rds.force_ssl" = "1"
      # For whoever connects without limits of their own; migrate sets its own in each session.
      "statement_timeout"                   = "60000"
      "lock_timeout"                        = "10000"
      "idle_in_transaction_session_timeout" = "60000"
      # A peer that vanished without a word is noticed within two minutes, and its locks freed.
      "tcp_keepalives_idle"     = "60"
      "tcp_keepalives_interval" = "10"
      "tcp_keepalives_count"    = "6"
      # Who waited for a lock. Statements, values and messages that quote them are people's data and passwords, and this
      # log is read by more people than the tables are: what failed or was slow is told by the service's own log and by
      # Performance Insights, and who changed the schema by the ledger.
      "log_lock_waits"             = "1"
      "log_statement"              = "none"
      "log_min_duration_statement" = "-1"
      "log_min_error_statement"    = "panic"
      "log_min_messages"           = "log"
      "log_error_verbosity"        = "terse"
      # Who still uses a column that is to go (docs/debts.md): what functions send too.
      "pg_stat_statements.track" = "all"
    }
    content {
      name  = parameter.key
      value = parameter.value
    }
  }

  # What the server reads at its start alone: RDS refuses to be told it at once.
  dynamic "parameter" {
    for_each = {
      "shared_preload_libraries" = "pg_stat_statements"
      # Some five hundred statements a run of migrate, where it may not keep its own out, and as many of each release: with
      # the default of 5000, evidence of a column's use is thrown out within days, and what is owed is never paid.
      "pg_stat_statements.max" = "10000"
      # A statement that is cut off at the default of 1 KiB says nothing certain of what it reads.
      "track_activity_query_size" = "16384"
    }
    content {
      name         = parameter.key
      value        = parameter.value
      apply_method = "pending-reboot"
    }
  }

  lifecycle {
    create_before_destroy = true
  }
}

# RDS would make them itself, without an end to what is kept and without our key.
resource "aws_cloudwatch_log_group" "database" {
  for_each          = toset(["postgresql", "upgrade"])
  name              = "/aws/rds/instance/rupaya-postgres${local.suffix}/${each.key}"
  retention_in_days = var.log_retention_days
  kms_key_id        = aws_kms_key.this.arn
}

# Each life of the database has a last snapshot of its own: one name for all would end the second destroy.
resource "terraform_data" "database" {}

resource "aws_db_instance" "this" {
  # checkov:skip=CKV2_AWS_69: The parameter group forces TLS, in a dynamic block, where checkov does not look; infra/tests proves it.
  # checkov:skip=CKV_AWS_157: A variable, true by default; staging goes without a standby, for its price.
  # checkov:skip=CKV_AWS_293: A variable, true by default; false is the first of the two steps that destroy it.
  identifier     = "rupaya-postgres${local.suffix}"
  engine         = "postgres"
  engine_version = var.postgres_version
  instance_class = var.database_instance_class

  db_name  = "rupaya"
  username = "rupaya"
  # RDS makes the password, keeps it and changes it every week; only migrate uses it, which reads it at its start.
  manage_master_user_password   = true
  master_user_secret_kms_key_id = aws_kms_key.this.arn
  # People may come with an IAM token in place of the password, once granted rds_iam.
  iam_database_authentication_enabled = true

  db_subnet_group_name   = aws_db_subnet_group.this.name
  vpc_security_group_ids = concat([aws_security_group.database.id], var.database_other_security_groups)
  publicly_accessible    = false
  multi_az               = var.database_multi_az
  ca_cert_identifier     = "rds-ca-rsa2048-g1"

  parameter_group_name       = aws_db_parameter_group.this.name
  auto_minor_version_upgrade = true
  maintenance_window         = "sun:06:00-sun:07:00"
  # A major version needs a parameter group of its own family, and both at once.
  allow_major_version_upgrade = var.allow_major_upgrade
  apply_immediately           = var.allow_major_upgrade

  storage_type          = "gp3"
  allocated_storage     = var.database_storage_gib
  max_allocated_storage = var.database_max_storage_gib
  storage_encrypted     = true
  kms_key_id            = aws_kms_key.this.arn

  backup_retention_period   = var.database_backup_days
  backup_window             = "04:00-05:00"
  copy_tags_to_snapshot     = true
  deletion_protection       = var.deletion_protection
  delete_automated_backups  = false
  skip_final_snapshot       = false
  final_snapshot_identifier = "rupaya-postgres${local.suffix}-final-${substr(terraform_data.database.id, 0, 8)}"

  performance_insights_enabled    = true
  performance_insights_kms_key_id = aws_kms_key.this.arn
  monitoring_interval             = 60
  monitoring_role_arn             = aws_iam_role.database_monitoring.arn
  enabled_cloudwatch_logs_exports = keys(aws_cloudwatch_log_group.database)

  lifecycle {
    # What can only be had by making the database anew: one that was taken over keeps its own, as long as it lives.
    ignore_changes = [
      db_name, db_subnet_group_name, kms_key_id, performance_insights_kms_key_id, storage_encrypted, username,
      # One from before is handed over to RDS by a person, once nothing serves as the master user (docs/deploying.md).
      manage_master_user_password, master_user_secret_kms_key_id,
    ]
  }
}

check "the_database_is_encrypted" {
  assert {
    condition     = aws_db_instance.this.storage_encrypted
    error_message = "The database that was taken over is not encrypted, and cannot become so in its place: copy a snapshot with a key, restore that, and take it over (docs/deploying.md)."
  }
}

# Optional: a proxy for the service's own queries. Migrations go to the database itself, for a pooler may give two
# migrators one session, and migrate refuses it by name.

resource "aws_db_proxy" "this" {
  count                  = var.use_rds_proxy ? 1 : 0
  name                   = "rupaya${local.suffix}"
  engine_family          = "POSTGRESQL"
  require_tls            = true
  role_arn               = aws_iam_role.proxy[0].arn
  vpc_subnet_ids         = var.database_subnet_ids
  vpc_security_group_ids = [aws_security_group.database.id]

  dynamic "auth" {
    for_each = aws_secretsmanager_secret.proxy
    content {
      auth_scheme = "SECRETS"
      iam_auth    = "DISABLED"
      secret_arn  = auth.value.arn
    }
  }
}

resource "aws_db_proxy_default_target_group" "this" {
  count         = var.use_rds_proxy ? 1 : 0
  db_proxy_name = aws_db_proxy.this[0].name

  connection_pool_config {
    # The rest is for migrations and for people.
    max_connections_percent      = 80
    max_idle_connections_percent = 40
    connection_borrow_timeout    = 5
  }
}

resource "aws_db_proxy_target" "this" {
  count                  = var.use_rds_proxy ? 1 : 0
  db_proxy_name          = aws_db_proxy.this[0].name
  target_group_name      = aws_db_proxy_default_target_group.this[0].name
  db_instance_identifier = aws_db_instance.this.identifier
}

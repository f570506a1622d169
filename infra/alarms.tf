# Log lines become figures, figures become alarms, and alarms become mail.

locals {
  metrics = "Rupaya/${var.environment}"

  # How `migrate` ended, by exit code: what it means, and how many within how many seconds are worth waking somebody.
  # What is told of each is the sentence of entrypoint.sh, but for 143: who is told to stop leaves without it, so there
  # it is what `migrate` itself says.
  exit_codes = {
    "10"  = { meaning = "the database was unreachable, refused the connection, or was lost", count = 1, period_s = 60 }
    "11"  = { meaning = "another migrator held the lock too long", count = 1, period_s = 60 }
    "12"  = { meaning = "a table stayed locked through all tries", count = 1, period_s = 60 }
    "13"  = { meaning = "a migration or a handler failed", count = 1, period_s = 60 }
    "14"  = { meaning = "the database's history and this release do not go together", count = 1, period_s = 60 }
    "15"  = { meaning = "the same migration failed before in the same way", count = 1, period_s = 60 }
    "16"  = { meaning = "the environment is unfit", count = 1, period_s = 60 }
    "17"  = { meaning = "the migrator itself failed", count = 1, period_s = 60 }
    "137" = { meaning = "migrate was killed, most likely for want of memory", count = 1, period_s = 60 }
    # One is a task that autoscaling took away at its start; five are a grace period that is too short.
    "143" = { meaning = "tasks are stopped again and again while they migrate", count = 5, period_s = 900 }
  }
}

locals {
  # Those that no further try of the same release can end otherwise.
  hopeless = ["13", "14", "15", "16", "17"]
}

resource "aws_sns_topic" "alarms" {
  name              = "${local.prefix}-alarms"
  kms_master_key_id = aws_kms_key.this.id
}

resource "aws_sns_topic_policy" "alarms" {
  arn    = aws_sns_topic.alarms.arn
  policy = data.aws_iam_policy_document.alarms.json
}

data "aws_iam_policy_document" "alarms" {
  statement {
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.alarms.arn]
    principals {
      type        = "Service"
      identifiers = ["cloudwatch.amazonaws.com", "events.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [var.account_id]
    }
  }
}

resource "aws_sns_topic_subscription" "email" {
  for_each  = toset(var.alarm_emails)
  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = each.value
}

# Each exit code

resource "aws_cloudwatch_log_metric_filter" "exit_code" {
  for_each       = local.exit_codes
  name           = "${local.prefix}-migrate-exit-${each.key}"
  log_group_name = aws_cloudwatch_log_group.this.name
  # With the semicolon, or 14 would be counted for each 143.
  pattern = (
    each.key == "143"
    ? "?\"ended the migration run before it was done\" ?\"The server answers no cancellation\""
    : "\"Migrations failed with exit status ${each.key};\""
  )

  metric_transformation {
    namespace     = local.metrics
    name          = "MigrateExit${each.key}"
    value         = "1"
    default_value = "0"
    unit          = "Count"
  }
}

resource "aws_cloudwatch_metric_alarm" "exit_code" {
  for_each            = local.exit_codes
  alarm_name          = "${local.prefix}-migrate-exit-${each.key}"
  alarm_description   = "migrate ended with ${each.key}: ${each.value.meaning}. The log group ${local.log_group} says which and why."
  namespace           = local.metrics
  metric_name         = aws_cloudwatch_log_metric_filter.exit_code[each.key].metric_transformation[0].name
  statistic           = "Sum"
  period              = each.value.period_s
  evaluation_periods  = 1
  threshold           = each.value.count
  comparison_operator = "GreaterThanOrEqualToThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
}

# Drift: the schema is not what the migrations made, or the history is not what the code says

resource "aws_cloudwatch_log_metric_filter" "drift" {
  name           = "${local.prefix}-drift"
  log_group_name = aws_cloudwatch_log_group.this.name
  # 1 is "they differ"; with the full stop, or 10 (unreachable) and 16 (unfit) would be taken for it.
  pattern = "?\"manage.py schemadiff exited with 1.\" ?\"manage.py showmigrations --audit --check exited with 1.\""

  metric_transformation {
    namespace     = local.metrics
    name          = "Drift"
    value         = "1"
    default_value = "0"
    unit          = "Count"
  }
}

resource "aws_cloudwatch_metric_alarm" "drift" {
  alarm_name          = "${local.prefix}-drift"
  alarm_description   = "The database's schema or its history of migrations is not what the release in ${var.environment} says. The newest stream ecs/${local.migrate_container}/ in ${local.log_group} says what differs."
  namespace           = local.metrics
  metric_name         = aws_cloudwatch_log_metric_filter.drift.metric_transformation[0].name
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  threshold           = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
}

# Any of the daily checks, for whatever reason

resource "aws_cloudwatch_log_metric_filter" "daily_check_failed" {
  name           = "${local.prefix}-daily-check-failed"
  log_group_name = aws_cloudwatch_log_group.this.name
  pattern        = "\"Daily check failed\""

  metric_transformation {
    namespace     = local.metrics
    name          = "DailyCheckFailed"
    value         = "1"
    default_value = "0"
    unit          = "Count"
  }
}

resource "aws_cloudwatch_metric_alarm" "daily_check_failed" {
  alarm_name          = "${local.prefix}-daily-check-failed"
  alarm_description   = "A daily check failed: the newest stream ecs/${local.migrate_container}/ in ${local.log_group} says which and why."
  namespace           = local.metrics
  metric_name         = aws_cloudwatch_log_metric_filter.daily_check_failed.metric_transformation[0].name
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  threshold           = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
}

# An alarm that never fires because nothing looks is worse than none.
resource "aws_cloudwatch_log_metric_filter" "daily_checks" {
  name           = "${local.prefix}-daily-checks-ended"
  log_group_name = aws_cloudwatch_log_group.this.name
  pattern        = "?\"Daily checks passed\" ?\"Daily check failed\""

  metric_transformation {
    namespace = local.metrics
    name      = "DailyChecksEnded"
    value     = "1"
    unit      = "Count"
    # Else the alarm would look further back, to the last figure that there is.
    default_value = "0"
  }
}

resource "aws_cloudwatch_metric_alarm" "daily_checks_missing" {
  alarm_name        = "${local.prefix}-daily-checks-missing"
  alarm_description = "The daily checks said nothing for 26 hours: drift would not be noticed."
  namespace         = local.metrics
  metric_name       = aws_cloudwatch_log_metric_filter.daily_checks.metric_transformation[0].name
  statistic         = "Sum"
  # A day and two hours, an hour at a time: the window slides, and no two days' checks end exactly 24 hours apart.
  period              = 3600
  evaluation_periods  = 26
  datapoints_to_alarm = 26
  threshold           = 1
  comparison_operator = "LessThanThreshold"
  treat_missing_data  = "breaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
}

# A rollout that ECS gave up, whoever started it

resource "aws_cloudwatch_event_rule" "deployment_failed" {
  name        = "${local.prefix}-deployment-failed"
  description = "The circuit breaker ended a rollout"
  event_pattern = jsonencode({
    source      = ["aws.ecs"]
    detail-type = ["ECS Deployment State Change"]
    resources   = [aws_ecs_service.this.id]
    detail      = { eventName = ["SERVICE_DEPLOYMENT_FAILED"] }
  })
}

resource "aws_cloudwatch_event_target" "deployment_failed" {
  rule = aws_cloudwatch_event_rule.deployment_failed.name
  arn  = aws_sns_topic.alarms.arn
}

# What a person must know of at once, whatever its cause

resource "aws_cloudwatch_metric_alarm" "no_healthy_target" {
  alarm_name          = "${local.prefix}-no-healthy-target"
  alarm_description   = "No task serves."
  evaluation_periods  = 2
  threshold           = 1
  comparison_operator = "LessThanThreshold"
  treat_missing_data  = "breaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]

  namespace   = local.shifts ? null : "AWS/ApplicationELB"
  metric_name = local.shifts ? null : "HealthyHostCount"
  statistic   = local.shifts ? null : "Minimum"
  period      = local.shifts ? null : 60
  dimensions = local.shifts ? null : {
    LoadBalancer = aws_lb.this.arn_suffix
    TargetGroup  = aws_lb_target_group.this.arn_suffix
  }

  # Of both groups, where there are two: one of them is empty between deployments.
  dynamic "metric_query" {
    for_each = local.shifts ? ["FILL(m0, 0) + FILL(m1, 0)"] : []
    content {
      id          = "healthy"
      expression  = metric_query.value
      label       = "healthy targets"
      return_data = true
    }
  }

  dynamic "metric_query" {
    for_each = local.shifts ? [aws_lb_target_group.this.arn_suffix, aws_lb_target_group.other[0].arn_suffix] : []
    content {
      id = "m${metric_query.key}"
      metric {
        namespace   = "AWS/ApplicationELB"
        metric_name = "HealthyHostCount"
        stat        = "Minimum"
        period      = 60
        dimensions = {
          LoadBalancer = aws_lb.this.arn_suffix
          TargetGroup  = metric_query.value
        }
      }
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "server_errors" {
  alarm_name          = "${local.prefix}-server-errors"
  alarm_description   = "Twenty requests in a minute, and again in the next, were answered with 5xx by tasks. The log group ${local.log_group} has their errors."
  namespace           = "AWS/ApplicationELB"
  metric_name         = "HTTPCode_Target_5XX_Count"
  statistic           = "Sum"
  period              = 60
  evaluation_periods  = 2
  threshold           = 20
  comparison_operator = "GreaterThanOrEqualToThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  # Of all its target groups.
  dimensions = { LoadBalancer = aws_lb.this.arn_suffix }
}

# A release that starts and is never ready: nobody is sent to it, so nobody sees an error. Before its server starts nothing
# answers, so that a migration is never taken for it; a failover of the database is over sooner.
resource "aws_cloudwatch_log_metric_filter" "not_ready" {
  name           = "${local.prefix}-not-ready"
  log_group_name = aws_cloudwatch_log_group.this.name
  pattern        = "{ $.path = \"/health/ready\" && $.status = 503 }"

  metric_transformation {
    namespace     = local.metrics
    name          = "NotReady"
    value         = "1"
    default_value = "0"
    unit          = "Count"
  }
}

resource "aws_cloudwatch_metric_alarm" "not_ready" {
  alarm_name          = "${local.prefix}-not-ready"
  alarm_description   = "A task's server runs and has been answering for ${local.ready_within_s / 60} minutes that it is not ready. The log group ${local.log_group} says which; /health/ready says why."
  namespace           = local.metrics
  metric_name         = aws_cloudwatch_log_metric_filter.not_ready.metric_transformation[0].name
  statistic           = "Sum"
  period              = 60
  evaluation_periods  = local.ready_within_s / 60
  threshold           = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
}

resource "aws_cloudwatch_metric_alarm" "database_storage" {
  alarm_name          = "${local.prefix}-database-storage"
  alarm_description   = "Less than 2 GiB are free; a full disk stops every write and each migration."
  namespace           = "AWS/RDS"
  metric_name         = "FreeStorageSpace"
  statistic           = "Minimum"
  period              = 300
  evaluation_periods  = 1
  threshold           = 2147483648
  comparison_operator = "LessThanThreshold"
  treat_missing_data  = "missing"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  dimensions          = { DBInstanceIdentifier = aws_db_instance.this.identifier }
}

# What was put away instead of dropped: the daily task says how much room it takes.

resource "aws_cloudwatch_log_metric_filter" "attic" {
  name           = "${local.prefix}-attic-bytes"
  log_group_name = aws_cloudwatch_log_group.this.name
  pattern        = "{ $.attic_bytes >= 0 }"

  metric_transformation {
    namespace = local.metrics
    name      = "AtticBytes"
    value     = "$.attic_bytes"
    unit      = "Bytes"
  }
}

resource "aws_cloudwatch_metric_alarm" "attic" {
  alarm_name          = "${local.prefix}-attic"
  alarm_description   = "Dropped columns and tables that are kept take 10 GiB or more: manage.py attic list, attic purge."
  namespace           = local.metrics
  metric_name         = aws_cloudwatch_log_metric_filter.attic.metric_transformation[0].name
  statistic           = "Maximum"
  period              = 86400
  evaluation_periods  = 1
  threshold           = 10737418240
  comparison_operator = "GreaterThanOrEqualToThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
}

# Once a day: does the database still hold what the migrations made, and away with what has expired.
resource "aws_scheduler_schedule" "daily" {
  # checkov:skip=CKV_AWS_297: What is encrypted is the command below, which is public.
  name                         = "${local.prefix}-daily-checks"
  description                  = "migrate --contract, showmigrations --audit --check, schemadiff, purge_expired, attic purge"
  schedule_expression          = "cron(0 5 * * ? *)"
  schedule_expression_timezone = "UTC"

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = aws_ecs_cluster.this.arn
    role_arn = aws_iam_role.scheduler.arn

    ecs_parameters {
      # Without a revision: the newest, which the deployment registers once a release has proved itself.
      task_definition_arn = aws_ecs_task_definition.migrate.arn_without_revision
      launch_type         = "FARGATE"
      platform_version    = "LATEST"
      propagate_tags      = "TASK_DEFINITION"

      network_configuration {
        subnets          = var.task_subnet_ids
        security_groups  = [aws_security_group.task.id]
        assign_public_ip = false
      }
    }

    input = jsonencode({
      containerOverrides = [{
        name    = local.migrate_container
        command = ["sh", "-euc", local.daily_checks]
      }]
    })

    retry_policy {
      maximum_retry_attempts       = 3
      maximum_event_age_in_seconds = 3600
    }
  }
}

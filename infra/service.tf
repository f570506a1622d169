resource "aws_ecs_cluster" "this" {
  name = local.cluster

  setting {
    name  = "containerInsights"
    value = "enabled"
  }
}

resource "aws_cloudwatch_log_group" "this" {
  name              = local.log_group
  retention_in_days = var.log_retention_days
  kms_key_id        = aws_kms_key.this.arn
}

locals {
  environment = merge(
    {
      RUPAYA_ENV           = "production" # staging too: it is a rehearsal of production
      ALLOWED_HOSTS        = var.hostname
      CSRF_TRUSTED_ORIGINS = "https://${var.hostname}"
      # The load balancer's addresses change within its subnets, and those may lie in any of the VPC's networks.
      TRUSTED_PROXIES = join(",", sort(data.aws_vpc.this.cidr_block_associations[*].cidr_block))
      PORT            = tostring(local.port)
      WEB_CONCURRENCY = tostring(var.web_concurrency)
      DB_HOST         = var.use_rds_proxy ? aws_db_proxy.this[0].endpoint : aws_db_instance.this.address
      DB_PORT         = "5432"
      DB_NAME         = aws_db_instance.this.db_name
      DB_SSL          = "true"
      # verify-full: RDS' own authorities, and those of its proxy, are in the image.
      DB_SSL_ROOT_CERT = "/app/rupaya/rds-ca.pem"
      # migrate alone, as the owner and past the proxy. The password is not in it: libpq takes PGPASSWORD where a URL has none.
      MIGRATION_DATABASE_URL = "postgresql://${aws_db_instance.this.username}@${aws_db_instance.this.address}:5432/${aws_db_instance.this.db_name}"
      MIGRATE_DB_WAIT_S      = tostring(var.migrate_db_wait_s)
      MIGRATE_LOCK_WAIT_S    = tostring(var.migrate_lock_wait_s)
      MIGRATE_DEADLINE_S     = tostring(var.migrate_deadline_s)
    },
    var.extra_environment,
  )

  secrets = merge(
    {
      SECRET_KEY     = aws_secretsmanager_secret.django.arn
      DB_CREDENTIALS = aws_secretsmanager_secret.service.arn
      PGPASSWORD     = local.master_password
      # The same in two, for images that are older than DB_CREDENTIALS: a rollback may bring one back.
      DB_USER     = "${aws_secretsmanager_secret.service.arn}:username::"
      DB_PASSWORD = "${aws_secretsmanager_secret.service.arn}:password::"
    },
    var.extra_secrets,
  )

  # How the container runs is said once, for the tests of the image and compose.yaml read the same file. There is no /tmp:
  # what is written (heartbeats, the odd temporary file) goes to /dev/shm, which is memory and which Fargate gives.
  how_it_runs = jsondecode(file("${path.module}/container.json"))

  # What both containers are: the same image, hardened alike, told alike.
  container_definition = {
    image     = local.image
    essential = true
    memory    = var.task_memory_mib
    user      = local.how_it_runs.user

    readonlyRootFilesystem = local.how_it_runs.readonlyRootFilesystem
    stopTimeout            = local.how_it_runs.stopTimeout
    linuxParameters        = local.how_it_runs.linuxParameters
    environment            = [for name in sort(keys(local.environment)) : { name = name, value = local.environment[name] } if !contains(keys(local.secrets), name)]
    # ECS refuses a name that is among both; what is given as a secret is one.
    secrets = [for name in sort(keys(local.secrets)) : { name = name, valueFrom = local.secrets[name] }]
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        "awslogs-group"         = aws_cloudwatch_log_group.this.name
        "awslogs-region"        = var.region
        "awslogs-stream-prefix" = "ecs"
      }
    }
  }

  # A one-off task has no entrypoint.sh to say how migrate ended; the alarms wait for the same sentence.
  run_and_say = <<-SH
    trap 'exit 143' TERM INT
    status=0
    python manage.py "$@" || status=$?
    if [ "$status" -ne 0 ]; then
        echo "Migrations failed with exit status $status; this was manage.py $*." >&2
    fi
    exit "$status"
  SH

  # Every command is run even if one before it fails, and each failure is said in the words that the alarm waits for.
  daily_checks = <<-SH
    trap 'exit 143' TERM INT
    failed=0
    check() {
        status=0
        python manage.py "$@" || status=$?
        if [ "$status" -ne 0 ]; then
            failed=1
            echo "Daily check failed: manage.py $* exited with $status." >&2
        fi
    }
    check migrate --contract --noinput
    check showmigrations --audit --check
    check schemadiff
    check purge_expired
    check attic purge --older-than 30d
    if [ "$failed" -eq 0 ]; then
        echo "Daily checks passed"
    fi
    exit "$failed"
  SH
}

resource "aws_ecs_task_definition" "service" {
  # checkov:skip=CKV_AWS_336: readonlyRootFilesystem is set in local.container_definition, where checkov does not look; infra/tests proves it.
  family                   = local.service
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.task_cpu
  memory                   = var.task_memory_mib
  execution_role_arn       = aws_iam_role.execution.arn
  task_role_arn            = aws_iam_role.task.arn
  # A deployment starts from the newest revision, and a rollback needs the old ones.
  skip_destroy = true

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.cpu_architecture
  }

  container_definitions = jsonencode([merge(local.container_definition, {
    name         = local.container
    portMappings = [{ containerPort = local.port, protocol = "tcp" }]
    # ECS does not read the image's own. It asks whether the process answers, and nothing answers while migrations run:
    # for that time the service's grace period counts. 300 s is the longest start that ECS allows here.
    healthCheck = local.how_it_runs.healthCheck
  })])

  lifecycle {
    precondition {
      condition     = local.grace_period_s >= var.migrate_db_wait_s + var.migrate_lock_wait_s + var.migrate_deadline_s
      error_message = "The health check grace period must outlast all that a start may wait for, one after the other."
    }
    # As deploy/ecs.py waits: two grace periods until ECS knows, and the proof; and some minutes for one command.
    precondition {
      condition     = !local.shifts || 2 * (local.grace_period_s + 120) + 1200 + local.shift_s < 6600
      error_message = "With these waits and this shift of traffic a deployment would outlive its credentials, and nobody would tell of its end."
    }
  }
}

# The same image for one command: `migrate --contract` after a rollout, the daily checks, and whatever a person runs.
resource "aws_ecs_task_definition" "migrate" {
  # checkov:skip=CKV_AWS_336: readonlyRootFilesystem is set in local.container_definition, where checkov does not look; infra/tests proves it.
  family                   = local.migrate_family
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.task_cpu
  memory                   = var.task_memory_mib
  execution_role_arn       = aws_iam_role.execution.arn
  task_role_arn            = aws_iam_role.task.arn
  skip_destroy             = true

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.cpu_architecture
  }

  container_definitions = jsonencode([merge(local.container_definition, {
    name       = local.migrate_container
    entryPoint = ["dumb-init", "--"]
    command    = ["sh", "-euc", local.run_and_say, "manage.py", "migrate", "--contract", "--noinput"]
  })])
}

resource "aws_ecs_service" "this" {
  name            = local.service
  cluster         = aws_ecs_cluster.this.id
  task_definition = aws_ecs_task_definition.service.arn
  # There is no image before the first deployment, which raises this to minimum_tasks.
  desired_count          = 0
  launch_type            = "FARGATE"
  platform_version       = "LATEST"
  propagate_tags         = "SERVICE"
  enable_execute_command = false

  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200
  health_check_grace_period_seconds  = local.grace_period_s

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  # The circuit breaker counts tasks, for minutes each; these know within one or two that waiting is of no use.
  alarms {
    enable   = true
    rollback = true
    alarm_names = concat(
      [for code in local.hopeless : aws_cloudwatch_metric_alarm.exit_code[code].alarm_name],
      [aws_cloudwatch_metric_alarm.server_errors.alarm_name, aws_cloudwatch_metric_alarm.not_ready.alarm_name],
    )
  }

  network_configuration {
    subnets          = var.task_subnet_ids
    security_groups  = [aws_security_group.task.id]
    assign_public_ip = false
  }

  load_balancer {
    target_group_arn = aws_lb_target_group.this.arn
    container_name   = local.container
    container_port   = local.port
  }

  lifecycle {
    # The deployment decides what runs, and autoscaling how many of it: an apply undoes neither.
    ignore_changes = [task_definition, desired_count]
  }

  depends_on = [
    aws_lb_listener.https,
    aws_iam_role_policy.execution,
  ]
}

resource "aws_appautoscaling_target" "this" {
  service_namespace  = "ecs"
  resource_id        = "service/${aws_ecs_cluster.this.name}/${aws_ecs_service.this.name}"
  scalable_dimension = "ecs:service:DesiredCount"
  min_capacity       = var.minimum_tasks
  max_capacity       = var.maximum_tasks
}

resource "aws_appautoscaling_policy" "cpu" {
  name               = "${local.prefix}-cpu"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.this.service_namespace
  resource_id        = aws_appautoscaling_target.this.resource_id
  scalable_dimension = aws_appautoscaling_target.this.scalable_dimension

  target_tracking_scaling_policy_configuration {
    target_value       = 60
    scale_out_cooldown = 60
    scale_in_cooldown  = 300

    predefined_metric_specification {
      predefined_metric_type = "ECSServiceAverageCPUUtilization"
    }
  }
}

# What must hold of the plan, whatever else changes. Needs no account: `terraform init -backend=false && terraform test`.

mock_provider "aws" {
  # Values that the provider checks the form of.
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{\"Version\":\"2012-10-17\",\"Statement\":[]}" }
  }
  mock_data "aws_vpc" {
    defaults = {
      cidr_block              = "10.0.0.0/16"
      cidr_block_associations = [{ cidr_block = "10.1.0.0/16" }, { cidr_block = "10.0.0.0/16" }]
    }
  }
  mock_data "aws_ecr_repository" {
    defaults = {
      arn            = "arn:aws:ecr:us-east-1:590184132516:repository/rupaya-backend"
      repository_url = "590184132516.dkr.ecr.us-east-1.amazonaws.com/rupaya-backend"
    }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::590184132516:role/mock" }
  }
  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:us-east-1:590184132516:key/00000000-0000-0000-0000-000000000000" }
  }
  mock_resource "aws_secretsmanager_secret" {
    defaults = { arn = "arn:aws:secretsmanager:us-east-1:590184132516:secret:mock" }
  }
  mock_resource "aws_sns_topic" {
    defaults = { arn = "arn:aws:sns:us-east-1:590184132516:mock" }
  }
  mock_resource "aws_lb" {
    defaults = { arn = "arn:aws:elasticloadbalancing:us-east-1:590184132516:loadbalancer/app/mock/1" }
  }
  mock_resource "aws_lb_listener" {
    defaults = { arn = "arn:aws:elasticloadbalancing:us-east-1:590184132516:listener/app/mock/1/1" }
  }
  mock_resource "aws_lb_target_group" {
    defaults = { arn = "arn:aws:elasticloadbalancing:us-east-1:590184132516:targetgroup/mock/1" }
  }
  mock_resource "aws_ecs_cluster" {
    defaults = { arn = "arn:aws:ecs:us-east-1:590184132516:cluster/mock" }
  }
  mock_resource "aws_db_instance" {
    defaults = {
      username           = "rupaya"
      master_user_secret = [{ secret_arn = "arn:aws:secretsmanager:us-east-1:590184132516:secret:rds!db-1" }]
    }
  }
  mock_resource "aws_db_proxy_default_target_group" {
    defaults = { name = "default" }
  }
  mock_resource "aws_ecs_task_definition" {
    defaults = {
      arn                  = "arn:aws:ecs:us-east-1:590184132516:task-definition/mock:1"
      arn_without_revision = "arn:aws:ecs:us-east-1:590184132516:task-definition/mock"
    }
  }
}

variables {
  alarm_emails             = ["operations@example.com"]
  environment              = "production"
  hostname                 = "api.example.com"
  certificate_arn          = "arn:aws:acm:us-east-1:590184132516:certificate/00000000-0000-0000-0000-000000000000"
  vpc_id                   = "vpc-1"
  load_balancer_subnet_ids = ["subnet-1", "subnet-2"]
  task_subnet_ids          = ["subnet-3", "subnet-4"]
  database_subnet_ids      = ["subnet-5", "subnet-6"]
}

run "deploys_without_downtime" {
  assert {
    condition     = aws_ecs_service.this.deployment_minimum_healthy_percent == 100 && aws_ecs_service.this.deployment_maximum_percent == 200
    error_message = "Old tasks must all serve until new ones do."
  }
  assert {
    condition     = aws_ecs_service.this.deployment_circuit_breaker[0].enable && aws_ecs_service.this.deployment_circuit_breaker[0].rollback
    error_message = "A failing release must be taken back by itself."
  }
  assert {
    condition     = aws_ecs_service.this.health_check_grace_period_seconds > max(var.migrate_deadline_s, var.migrate_lock_wait_s, var.migrate_db_wait_s)
    error_message = "The grace period must outlast the migrator's deadline."
  }
  assert {
    condition     = aws_appautoscaling_target.this.min_capacity >= 2
    error_message = "Fewer than two tasks are an outage at each replacement."
  }
  assert {
    condition     = aws_lb_target_group.this.health_check[0].path == "/health/ready" && aws_lb_target_group.this.target_type == "ip"
    error_message = "Traffic must wait for readiness."
  }
  assert {
    condition     = aws_lb_listener.https.protocol == "HTTPS" && aws_lb_listener.http.default_action[0].redirect[0].protocol == "HTTPS"
    error_message = "Clients are answered by HTTPS alone."
  }
  assert {
    condition     = tonumber(aws_lb_target_group.this.deregistration_delay) > 0 && aws_lb.this.idle_timeout < 75
    error_message = "Requests under way must end, and gunicorn (75 s) must be the one that keeps idle connections longer."
  }
}

run "a_release_that_cannot_serve_is_taken_back_within_minutes" {
  assert {
    condition = aws_ecs_service.this.alarms[0].enable && aws_ecs_service.this.alarms[0].rollback && length(setsubtract(
      ["rupaya-production-migrate-exit-13", "rupaya-production-migrate-exit-15", "rupaya-production-server-errors", "rupaya-production-not-ready"],
      aws_ecs_service.this.alarms[0].alarm_names,
    )) == 0
    error_message = "A failed migration or errors after it must end a rollout before the circuit breaker does."
  }
  assert {
    condition     = !contains(aws_ecs_service.this.alarms[0].alarm_names, "rupaya-production-migrate-exit-12") && !contains(aws_ecs_service.this.alarms[0].alarm_names, "rupaya-production-no-healthy-target")
    error_message = "What the next task may get past, or was so before, is no reason to go back."
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.not_ready.period * aws_cloudwatch_metric_alarm.not_ready.evaluation_periods <= 300 && jsondecode(aws_ssm_parameter.deployment.value).ready_within_s <= 300
    error_message = "Within minutes of its migrations' end a release that is never ready must be known, and not after two grace periods."
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.not_ready.period * aws_cloudwatch_metric_alarm.not_ready.evaluation_periods > tonumber(aws_lb_target_group.this.health_check[0].unhealthy_threshold) * aws_lb_target_group.this.health_check[0].interval
    error_message = "A database that fails over to its standby is no reason to take a release back."
  }
}

run "the_grace_period_follows_the_migrators_settings" {
  variables {
    migrate_db_wait_s   = 100
    migrate_deadline_s  = 7200
    migrate_lock_wait_s = 7260
  }
  assert {
    condition     = aws_ecs_service.this.health_check_grace_period_seconds >= 100 + 7260 + 7200
    error_message = "The waits come one after the other: the deadline begins when the lock is taken."
  }
  assert {
    condition = alltrue([
      for definition in [aws_ecs_task_definition.service, aws_ecs_task_definition.migrate] :
      contains(jsondecode(definition.container_definitions)[0].environment, { name = "MIGRATE_DEADLINE_S", value = "7200" })
    ])
    error_message = "The containers must be told the deadline that the grace period was made for."
  }
}

run "containers_can_do_no_more_than_they_must" {
  assert {
    condition = alltrue([
      for container in concat(jsondecode(aws_ecs_task_definition.service.container_definitions), jsondecode(aws_ecs_task_definition.migrate.container_definitions)) :
      container.readonlyRootFilesystem && container.user == "10001:10001" && container.stopTimeout >= 30
      && contains(container.linuxParameters.capabilities.drop, "ALL")
    ])
    error_message = "Read-only, not root, no capabilities, and time to end."
  }
  assert {
    condition     = jsondecode(aws_ecs_task_definition.service.container_definitions)[0].healthCheck.command == ["CMD", "python", "-m", "rupaya.health.command"]
    error_message = "ECS must ask what the image itself asks."
  }
  assert {
    condition = alltrue([
      for variable in jsondecode(aws_ecs_task_definition.service.container_definitions)[0].environment :
      !contains(["SECRET_KEY", "DB_PASSWORD", "PGPASSWORD", "DATABASE_URL"], variable.name)
    ])
    error_message = "Secrets come from Secrets Manager."
  }
  assert {
    condition = toset([
      for secret in jsondecode(aws_ecs_task_definition.service.container_definitions)[0].secrets : secret.name
    ]) == toset(["SECRET_KEY", "DB_CREDENTIALS", "DB_USER", "DB_PASSWORD", "PGPASSWORD"])
    error_message = "Who serves and by what, the owner's password for migrate, and no other."
  }
  assert {
    condition     = !aws_ecs_service.this.network_configuration[0].assign_public_ip && !aws_ecs_service.this.enable_execute_command
    error_message = "No public address, no shell."
  }
}

run "logs_are_where_the_guide_says" {
  assert {
    condition     = aws_cloudwatch_log_group.this.name == "/ecs/rupaya-backend"
    error_message = "The log group's name is known to people."
  }
  assert {
    condition = alltrue([
      for definition in [aws_ecs_task_definition.service, aws_ecs_task_definition.migrate] :
      jsondecode(definition.container_definitions)[0].logConfiguration.options["awslogs-stream-prefix"] == "ecs"
    ])
    error_message = "Streams are ecs/CONTAINER/TASK."
  }
  assert {
    condition     = jsondecode(aws_ecs_task_definition.service.container_definitions)[0].name == "rupaya-backend"
    error_message = "Streams are ecs/rupaya-backend/TASK."
  }
}

run "every_exit_code_and_drift_raise_an_alarm" {
  assert {
    condition     = length(setsubtract(["10", "11", "12", "13", "14", "15", "16", "17", "137", "143"], keys(aws_cloudwatch_metric_alarm.exit_code))) == 0
    error_message = "An exit code has no alarm."
  }
  assert {
    condition = alltrue([
      for code, filter in aws_cloudwatch_log_metric_filter.exit_code :
      strcontains(filter.pattern, code == "143" ? "ended the migration run" : "Migrations failed with exit status ${code};")
    ])
    error_message = "entrypoint.sh says it in these words (tests/infra/test_tasks.py proves it); with the semicolon 14 is not 143."
  }
  assert {
    condition = alltrue([
      for command in ["showmigrations --audit --check", "schemadiff", "purge_expired"] :
      strcontains(aws_scheduler_schedule.daily.target[0].input, command)
    ])
    error_message = "The drift alarm would never fire."
  }
  assert {
    condition     = strcontains(jsondecode(aws_scheduler_schedule.daily.target[0].input).containerOverrides[0].command[2], "Daily check failed: manage.py $* exited with $status.") && strcontains(aws_cloudwatch_log_metric_filter.drift.pattern, "manage.py schemadiff exited with 1.")
    error_message = "The checks must say what the alarm waits for."
  }
}

run "the_waits_of_a_rollout_end_before_its_credentials" {
  assert {
    # As deploy/ecs.py has it: two grace periods until ECS knows, and the proof; then there is time left for one command.
    condition     = 2 * (aws_ecs_service.this.health_check_grace_period_seconds + 120) + 600 + 600 < 6600
    error_message = "With these waits a deployment would end without anybody to tell of it."
  }
}

run "a_major_version_is_upgraded_when_it_is_said" {
  variables {
    postgres_version    = "18"
    allow_major_upgrade = true
  }
  assert {
    condition     = aws_db_instance.this.allow_major_version_upgrade && aws_db_instance.this.apply_immediately && aws_db_parameter_group.this.family == "postgres18"
    error_message = "RDS refuses a major version that was not allowed, and one with the old parameter group."
  }
}

run "missing_daily_checks_are_noticed_within_hours_and_late_ones_are_no_alarm" {
  assert {
    condition     = aws_cloudwatch_metric_alarm.daily_checks_missing.period * aws_cloudwatch_metric_alarm.daily_checks_missing.evaluation_periods >= 25 * 3600 && aws_cloudwatch_metric_alarm.daily_checks_missing.period <= 3600
    error_message = "The window slides: two days' checks are a little more than 24 hours apart."
  }
  assert {
    condition     = aws_scheduler_schedule.daily.flexible_time_window[0].mode == "OFF"
    error_message = "A check that comes when it likes cannot be missed."
  }
}

run "whatever_is_documented_can_be_set" {
  variables {
    extra_environment = { LOG_LEVEL = "DEBUG", MIGRATE_RETRIES = "3", WEB_CONCURRENCY = "7" }
    extra_secrets     = { METRICS_TOKEN = "arn:aws:secretsmanager:us-east-1:590184132516:secret:rupaya/metrics-AbCdEf:token::" }
  }
  assert {
    condition = alltrue([
      for definition in [aws_ecs_task_definition.service, aws_ecs_task_definition.migrate] : alltrue([
        for name, value in var.extra_environment :
        [for item in jsondecode(definition.container_definitions)[0].environment : item.value if item.name == name] == [value]
      ])
    ])
    error_message = "Both containers are told, once, and what is given wins."
  }
  assert {
    condition     = contains(jsondecode(aws_ecs_task_definition.service.container_definitions)[0].secrets, { name = "METRICS_TOKEN", valueFrom = var.extra_secrets.METRICS_TOKEN })
    error_message = "A secret is given by its ARN."
  }
}

run "a_secret_is_refused_among_what_everybody_reads" {
  command = plan
  variables {
    extra_environment = { METRICS_TOKEN = "x" }
  }
  expect_failures = [var.extra_environment]
}

run "people_come_in_where_it_is_said_and_a_closed_load_balancer_is_not_asked" {
  variables {
    database_client_security_groups = ["sg-0123456789abcdef0"]
    client_cidrs                    = ["192.0.2.0/24"]
  }
  assert {
    condition     = [for rule in aws_vpc_security_group_ingress_rule.database_from_people : rule.referenced_security_group_id] == ["sg-0123456789abcdef0"]
    error_message = "The private database has a way in for the guide's manual migration."
  }
  assert {
    condition     = jsondecode(aws_ssm_parameter.deployment.value).is_public == false
    error_message = "The deployment would wait for an answer that it cannot get."
  }
}

run "the_load_balancer_is_believed_wherever_it_stands" {
  assert {
    condition     = contains(jsondecode(aws_ecs_task_definition.service.container_definitions)[0].environment, { name = "TRUSTED_PROXIES", value = "10.0.0.0/16,10.1.0.0/16" })
    error_message = "A VPC has more networks than its first."
  }
}

run "what_cannot_be_taken_over_is_refused" {
  command = plan
  variables {
    existing = { bucket = "rupaya" }
  }
  expect_failures = [var.existing]
}

run "an_alarm_that_reaches_nobody_is_refused" {
  command = plan
  variables {
    alarm_emails = []
  }
  expect_failures = [var.alarm_emails]
}

run "an_environment_that_may_be_destroyed_may_be_made_again" {
  variables {
    deletion_protection = false
  }
  assert {
    condition     = aws_secretsmanager_secret.database_password.recovery_window_in_days == 0 && aws_secretsmanager_secret.django.recovery_window_in_days == 0 && alltrue([for secret in concat(values(aws_secretsmanager_secret.proxy), [aws_secretsmanager_secret.service]) : secret.recovery_window_in_days == 0])
    error_message = "A secret that can come back holds its name for a month."
  }
  assert {
    condition     = can(regex("^rupaya-postgres-final-[0-9a-f]{8}$", aws_db_instance.this.final_snapshot_identifier))
    error_message = "A second life of the database cannot end: its last snapshot's name is taken."
  }
}

run "the_server_is_verified" {
  assert {
    condition = alltrue([
      for definition in [aws_ecs_task_definition.service, aws_ecs_task_definition.migrate] :
      contains(jsondecode(definition.container_definitions)[0].environment, { name = "DB_SSL_ROOT_CERT", value = "/app/rupaya/rds-ca.pem" })
    ])
    error_message = "Without it TLS knows not whom it speaks to."
  }
}

run "another_environments_secret_is_refused" {
  command = plan
  variables {
    extra_secrets = { METRICS_TOKEN = "arn:aws:secretsmanager:us-east-1:590184132516:secret:rupaya-staging/metrics-AbCdEf" }
  }
  expect_failures = [var.extra_secrets]
}

run "the_databases_logs_end" {
  assert {
    condition = alltrue([
      for group in aws_cloudwatch_log_group.database : group.retention_in_days > 0 && group.kms_key_id != null
    ]) && length(aws_cloudwatch_log_group.database) == length(aws_db_instance.this.enabled_cloudwatch_logs_exports)
    error_message = "A log group that RDS makes is kept for ever."
  }
}

run "the_database_is_safe" {
  assert {
    condition     = aws_db_instance.this.storage_encrypted && aws_db_instance.this.deletion_protection && !aws_db_instance.this.publicly_accessible && !aws_db_instance.this.skip_final_snapshot
    error_message = "Encrypted, protected, private, and never gone without a snapshot."
  }
  assert {
    condition     = aws_db_instance.this.multi_az && aws_db_instance.this.backup_retention_period >= 7
    error_message = "Production has a standby, and can be restored to any second of a week or more."
  }
  assert {
    condition = contains([
      for parameter in aws_db_parameter_group.this.parameter : "${parameter.name}=${parameter.value}"
    ], "rds.force_ssl=1")
    error_message = "TLS is forced."
  }
  assert {
    condition = length(setsubtract(
      ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"],
      [for parameter in aws_db_parameter_group.this.parameter : parameter.name if parameter.value != "0"],
    )) == 0
    error_message = "A session without limits of its own has some all the same."
  }
  assert {
    condition     = aws_db_instance.this.password == null && aws_db_instance.this.password_wo_version == null && aws_db_instance.this.manage_master_user_password
    error_message = "A password in the state is a password that leaks."
  }
}

run "who_uses_what_is_to_go_can_be_told" {
  assert {
    condition = alltrue([
      for name, value in {
        "pg_stat_statements.max" = "10000", "shared_preload_libraries" = "pg_stat_statements", "track_activity_query_size" = "16384"
      } :
      [for parameter in aws_db_parameter_group.this.parameter : parameter.apply_method if parameter.name == name && parameter.value == value] == ["pending-reboot"]
    ])
    error_message = "Statements must be counted, whole and none forgotten; and RDS takes these three at a start alone."
  }
  assert {
    condition     = contains([for parameter in aws_db_parameter_group.this.parameter : "${parameter.name}=${parameter.value}"], "pg_stat_statements.track=all")
    error_message = "What a function sends counts too."
  }
}

run "staging_shares_the_account_but_no_name" {
  variables {
    environment = "staging"
  }
  assert {
    condition     = aws_cloudwatch_log_group.this.name == "/ecs/rupaya-backend-staging" && aws_ecs_service.this.name == "rupaya-backend-staging" && aws_db_instance.this.identifier == "rupaya-postgres-staging"
    error_message = "Two environments in one account must not share a name."
  }
}

run "what_serves_is_not_the_master_user" {
  assert {
    condition = alltrue([
      for definition in [aws_ecs_task_definition.service, aws_ecs_task_definition.migrate] : alltrue([
        contains(jsondecode(definition.container_definitions)[0].secrets, { name = "DB_CREDENTIALS", valueFrom = aws_secretsmanager_secret.service.arn }),
        contains(jsondecode(definition.container_definitions)[0].secrets, { name = "PGPASSWORD", valueFrom = "arn:aws:secretsmanager:us-east-1:590184132516:secret:rds!db-1:password::" }),
        contains(jsondecode(definition.container_definitions)[0].environment, {
          name  = "MIGRATION_DATABASE_URL"
          value = "postgresql://rupaya@${aws_db_instance.this.address}:5432/rupaya"
        }),
      ])
    ])
    error_message = "The service has a role of its own; migrate is the owner, by the password that RDS keeps."
  }
}

run "an_account_whose_master_password_is_its_own_keeps_it" {
  state_key = "from_before"
  override_resource {
    target = aws_db_instance.this
    values = { username = "owner", master_user_secret = [] }
  }
  assert {
    condition     = contains(jsondecode(aws_ecs_task_definition.service.container_definitions)[0].secrets, { name = "PGPASSWORD", valueFrom = aws_secretsmanager_secret.database_password.arn })
    error_message = "Until the hand-over to RDS the master's password is where the guide has it."
  }
}

run "migrations_pass_by_the_proxy" {
  variables {
    use_rds_proxy = true
  }
  assert {
    condition = alltrue([
      for definition in [aws_ecs_task_definition.service, aws_ecs_task_definition.migrate] : alltrue([
        contains(jsondecode(definition.container_definitions)[0].environment, { name = "DB_HOST", value = aws_db_proxy.this[0].endpoint }),
        contains(jsondecode(definition.container_definitions)[0].environment, {
          name  = "MIGRATION_DATABASE_URL"
          value = "postgresql://rupaya@${aws_db_instance.this.address}:5432/rupaya"
        }),
      ])
    ])
    error_message = "The service goes through the proxy, migrate to the database itself."
  }
}

run "requests_come_to_a_release_task_by_task" {
  assert {
    condition     = jsondecode(aws_ssm_parameter.deployment.value).shift == null && length(aws_lb_target_group.other) == 0
    error_message = "Whoever asks for no shift of traffic gets none."
  }
}

run "a_canary_gets_a_few_percent_first" {
  state_key = "canary"
  variables {
    traffic_shift = { strategy = "canary" }
  }
  assert {
    condition     = jsondecode(aws_ssm_parameter.deployment.value).shift.percent == 5 && jsondecode(aws_ssm_parameter.deployment.value).shift.takes_s == 300
    error_message = "Five percent for five minutes."
  }
  assert {
    condition     = aws_lb_target_group.other[0].health_check[0].path == "/health/ready" && aws_lb_target_group.other[0].deregistration_delay == aws_lb_target_group.this.deregistration_delay
    error_message = "Both groups have one rule of who is ready."
  }
  assert {
    condition     = length([for query in aws_cloudwatch_metric_alarm.no_healthy_target.metric_query : query if length(query.metric) > 0]) == 2
    error_message = "One of the two groups is empty between deployments, and that is no alarm."
  }
}

run "a_shift_that_outlives_its_credentials_is_refused" {
  command = plan
  variables {
    traffic_shift = { strategy = "linear", percent = 10, minutes = 10 }
  }
  expect_failures = [aws_ecs_task_definition.service]
}

run "a_shift_that_ecs_does_not_know_is_refused" {
  command = plan
  variables {
    traffic_shift = { strategy = "sudden" }
  }
  expect_failures = [var.traffic_shift]
}

run "one_task_is_refused" {
  command = plan
  variables {
    minimum_tasks = 1
  }
  expect_failures = [var.minimum_tasks]
}

run "a_third_environment_is_refused" {
  command = plan
  variables {
    environment = "demo"
  }
  expect_failures = [var.environment]
}

run "what_is_given_as_a_secret_is_given_once" {
  variables {
    extra_secrets = { ALLOWED_HOSTS = "arn:aws:secretsmanager:us-east-1:590184132516:secret:rupaya/hosts-AbCdEf" }
  }
  assert {
    condition = alltrue([
      for definition in [aws_ecs_task_definition.service, aws_ecs_task_definition.migrate] : length(setintersection(
        jsondecode(definition.container_definitions)[0].environment[*].name,
        jsondecode(definition.container_definitions)[0].secrets[*].name,
      )) == 0
    ])
    error_message = "ECS refuses a name that is among both."
  }
}

# What AWS or the service itself would refuse later, half-way through an apply or a deployment.

run "odd_web_concurrency_1_is_refused" {
  command = plan
  variables {
    web_concurrency = 0
  }
  expect_failures = [var.web_concurrency]
}

run "odd_web_concurrency_2_is_refused" {
  command = plan
  variables {
    web_concurrency = 1.5
  }
  expect_failures = [var.web_concurrency]
}

run "odd_hostname_1_is_refused" {
  command = plan
  variables {
    hostname = "https://api.example.com"
  }
  expect_failures = [var.hostname]
}

run "odd_hostname_2_is_refused" {
  command = plan
  variables {
    hostname = "*"
  }
  expect_failures = [var.hostname]
}

run "odd_hostname_3_is_refused" {
  command = plan
  variables {
    hostname = "API.example.com"
  }
  expect_failures = [var.hostname]
}

run "odd_maximum_tasks_1_is_refused" {
  command = plan
  variables {
    maximum_tasks = 1
  }
  expect_failures = [var.maximum_tasks]
}

run "odd_extra_environment_1_is_refused" {
  command = plan
  variables {
    extra_environment = { MIGRATE_DEADLINE_S = "7200" }
  }
  expect_failures = [var.extra_environment]
}

run "odd_extra_environment_2_is_refused" {
  command = plan
  variables {
    extra_environment = { PORT = "9000" }
  }
  expect_failures = [var.extra_environment]
}

run "odd_extra_environment_3_is_refused" {
  command = plan
  variables {
    extra_environment = { REPLICA_DATABASE_URL = "postgresql://u:p@h/d" }
  }
  expect_failures = [var.extra_environment]
}

run "odd_extra_environment_4_is_refused" {
  command = plan
  variables {
    extra_environment = { "a b" = "x" }
  }
  expect_failures = [var.extra_environment]
}

run "odd_extra_environment_5_is_refused" {
  command = plan
  variables {
    extra_environment = { LOG_LEVEL = null }
  }
  expect_failures = [var.extra_environment]
}

run "odd_client_cidrs_1_is_refused" {
  command = plan
  variables {
    client_cidrs = []
  }
  expect_failures = [var.client_cidrs]
}

run "odd_client_cidrs_2_is_refused" {
  command = plan
  variables {
    client_cidrs = ["nonsense"]
  }
  expect_failures = [var.client_cidrs]
}

run "odd_alarm_emails_1_is_refused" {
  command = plan
  variables {
    alarm_emails = ["nobody"]
  }
  expect_failures = [var.alarm_emails]
}

run "odd_task_memory_mib_1_is_refused" {
  command = plan
  variables {
    task_memory_mib = 1000
  }
  expect_failures = [var.task_memory_mib]
}

run "odd_postgres_version_1_is_refused" {
  command = plan
  variables {
    postgres_version = "17.2"
  }
  expect_failures = [var.postgres_version]
}

run "odd_database_storage_gib_1_is_refused" {
  command = plan
  variables {
    database_storage_gib = 10
  }
  expect_failures = [var.database_storage_gib]
}

run "odd_database_max_storage_gib_1_is_refused" {
  command = plan
  variables {
    database_max_storage_gib = 20
  }
  expect_failures = [var.database_max_storage_gib]
}

run "odd_traffic_shift_1_is_refused" {
  command = plan
  variables {
    traffic_shift = { strategy = "canary", minutes = 1.5 }
  }
  expect_failures = [var.traffic_shift]
}

# What the deployment must know of this environment, so that it is written nowhere twice. Nothing in it is secret.
resource "aws_ssm_parameter" "deployment" {
  # checkov:skip=CKV2_AWS_34: Names and addresses, no secret.
  # checkov:skip=CKV_AWS_337: As above.
  name        = "/rupaya/${var.environment}/deployment"
  description = "What deploy/ecs.py must know of ${var.environment}"
  type        = "String"
  value = jsonencode({
    cluster           = aws_ecs_cluster.this.name
    service           = aws_ecs_service.this.name
    container         = local.container
    migrate_family    = local.migrate_family
    migrate_container = local.migrate_container
    migrate_command   = ["sh", "-euc", local.run_and_say, "manage.py"]
    repository        = data.aws_ecr_repository.this.name
    log_group         = aws_cloudwatch_log_group.this.name
    target_group_arn  = aws_lb_target_group.this.arn
    port              = local.port
    shift = local.shifts ? {
      strategy               = var.traffic_shift.strategy
      percent                = var.traffic_shift.percent
      minutes                = var.traffic_shift.minutes
      takes_s                = local.shift_s
      other_target_group_arn = aws_lb_target_group.other[0].arn
      listener_rule_arn      = aws_lb_listener_rule.shift[0].arn
      role_arn               = aws_iam_role.shift[0].arn
    } : null
    database       = aws_db_instance.this.identifier
    url            = "https://${var.hostname}"
    minimum_tasks  = var.minimum_tasks
    grace_period_s = local.grace_period_s
    ready_within_s = local.ready_within_s
    # A runner of GitHub's can ask only what everybody may ask.
    is_public = contains(var.client_cidrs, "0.0.0.0/0")
  })
}

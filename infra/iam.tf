# Who may do what. Every role is bounded by the account's boundary, so that whoever may write these roles can still not
# make an administrator of one.

data "aws_iam_policy_document" "tasks_assume" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ecs-tasks.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [var.account_id]
    }
  }
}

# The execution role is ECS's own: it pulls the image, reads the secrets and opens the log streams.

resource "aws_iam_role" "execution" {
  name                 = "${local.prefix}-execution"
  assume_role_policy   = data.aws_iam_policy_document.tasks_assume.json
  permissions_boundary = local.boundary_arn
}

resource "aws_iam_role_policy" "execution" {
  name   = "execution"
  role   = aws_iam_role.execution.id
  policy = data.aws_iam_policy_document.execution.json
}

data "aws_iam_policy_document" "execution" {
  # checkov:skip=CKV_AWS_356: ecr:GetAuthorizationToken knows no resource.
  statement {
    sid       = "Login"
    actions   = ["ecr:GetAuthorizationToken"]
    resources = ["*"]
  }
  statement {
    sid       = "Pull"
    actions   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    resources = [data.aws_ecr_repository.this.arn]
  }
  statement {
    sid       = "Log"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.this.arn}:*"]
  }
  statement {
    sid     = "Secrets"
    actions = ["secretsmanager:GetSecretValue"]
    resources = concat(
      [aws_secretsmanager_secret.service.arn, aws_secretsmanager_secret.django.arn],
      # The second for tasks of a definition from before the hand-over, until the next deployment.
      local.master_secret_arn == null ? [] : [local.master_secret_arn],
      [aws_secretsmanager_secret.database_password.arn],
      # ECS lets one name a key of a JSON secret after its ARN; IAM knows the secret alone.
      [for arn in values(var.extra_secrets) : join(":", slice(split(":", arn), 0, 7))],
    )
  }
  statement {
    sid       = "DecryptSecrets"
    actions   = ["kms:Decrypt"]
    resources = [aws_kms_key.this.arn]
  }
}

# The task role is the code's own. It calls nothing of AWS.

resource "aws_iam_role" "task" {
  name                 = "${local.prefix}-task"
  assume_role_policy   = data.aws_iam_policy_document.tasks_assume.json
  permissions_boundary = local.boundary_arn
}

# The daily checks

resource "aws_iam_role" "scheduler" {
  name                 = "${local.prefix}-scheduler"
  permissions_boundary = local.boundary_arn
  assume_role_policy   = data.aws_iam_policy_document.scheduler_assume.json
}

data "aws_iam_policy_document" "scheduler_assume" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["scheduler.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [var.account_id]
    }
  }
}

resource "aws_iam_role_policy" "scheduler" {
  name   = "run-daily-checks"
  role   = aws_iam_role.scheduler.id
  policy = data.aws_iam_policy_document.scheduler.json
}

data "aws_iam_policy_document" "scheduler" {
  statement {
    sid     = "Run"
    actions = ["ecs:RunTask"]
    resources = [
      aws_ecs_task_definition.migrate.arn_without_revision,
      "${aws_ecs_task_definition.migrate.arn_without_revision}:*",
    ]
    condition {
      test     = "ArnEquals"
      variable = "ecs:cluster"
      values   = [aws_ecs_cluster.this.arn]
    }
  }
  statement {
    sid       = "Tag"
    actions   = ["ecs:TagResource"]
    resources = ["arn:aws:ecs:${var.region}:${var.account_id}:task/${aws_ecs_cluster.this.name}/*"]
    condition {
      test     = "StringEquals"
      variable = "ecs:CreateAction"
      values   = ["RunTask"]
    }
  }
  statement {
    sid       = "PassRoles"
    actions   = ["iam:PassRole"]
    resources = [aws_iam_role.execution.arn, aws_iam_role.task.arn]
    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["ecs-tasks.amazonaws.com"]
    }
  }
}

# The deployment: a workflow of this repository, in the GitHub environment of the same name, and nobody else.

resource "aws_iam_role" "deploy" {
  name                 = "${local.prefix}-deploy"
  permissions_boundary = local.boundary_arn
  assume_role_policy   = data.aws_iam_policy_document.deploy_assume.json
  # A rollout may wait for a migration for as long as its deadline allows.
  max_session_duration = 7200
}

data "aws_iam_policy_document" "deploy_assume" {
  statement {
    actions = ["sts:AssumeRoleWithWebIdentity"]
    principals {
      type        = "Federated"
      identifiers = ["arn:aws:iam::${var.account_id}:oidc-provider/token.actions.githubusercontent.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "token.actions.githubusercontent.com:aud"
      values   = ["sts.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "token.actions.githubusercontent.com:sub"
      values   = ["repo:${var.github_repository}:environment:${var.environment}"]
    }
  }
}

resource "aws_iam_role_policy" "deploy" {
  name   = "deploy"
  role   = aws_iam_role.deploy.id
  policy = data.aws_iam_policy_document.deploy.json
}

locals {
  # What served, in order: deploy/served.py writes it, and Terraform leaves it alone.
  served_arn = {
    for name in ["staging", "production"] :
    name => "arn:aws:ssm:${var.region}:${var.account_id}:parameter/rupaya/${name}/served"
  }
  # The second for the image of a release that does not serve: nothing else runs that family.
  one_off_arns = [
    "${aws_ecs_task_definition.migrate.arn_without_revision}:*",
    "${aws_ecs_task_definition.migrate.arn_without_revision}-once:*",
  ]
}

data "aws_iam_policy_document" "deploy" {
  # checkov:skip=CKV_AWS_111: ecs:RegisterTaskDefinition knows no resource; what can be run is bounded by the roles that may be passed.
  # checkov:skip=CKV_AWS_356: As above, and the same for the three that only describe.
  statement {
    sid = "KnowNoResource"
    actions = [
      # ECS asks it of whoever updates a service that alarms may roll back.
      "cloudwatch:DescribeAlarms",
      "ecs:DescribeTaskDefinition",
      "ecs:RegisterTaskDefinition",
      "elasticloadbalancing:DescribeTargetHealth",
      "rds:DescribeDBInstances",
    ]
    resources = ["*"]
  }
  statement {
    sid     = "Facts"
    actions = ["ssm:GetParameter"]
    # What served staging is what production may be brought.
    resources = [
      aws_ssm_parameter.deployment.arn,
      local.served_arn[var.environment],
      local.served_arn["staging"],
    ]
  }
  statement {
    sid       = "History"
    actions   = ["ssm:PutParameter"]
    resources = [local.served_arn[var.environment]]
  }
  statement {
    sid       = "Service"
    actions   = ["ecs:DescribeServices", "ecs:UpdateService"]
    resources = [aws_ecs_service.this.id]
  }
  statement {
    sid       = "Tasks"
    actions   = ["ecs:DescribeTasks", "ecs:ListTasks"]
    resources = ["*"]
    condition {
      test     = "ArnEquals"
      variable = "ecs:cluster"
      values   = [aws_ecs_cluster.this.arn]
    }
  }
  statement {
    sid       = "RunOneOff"
    actions   = ["ecs:RunTask"]
    resources = local.one_off_arns
    condition {
      test     = "ArnEquals"
      variable = "ecs:cluster"
      values   = [aws_ecs_cluster.this.arn]
    }
  }
  statement {
    # A new revision gets the tags of the one before it.
    sid       = "Tag"
    actions   = ["ecs:TagResource"]
    resources = concat(["${aws_ecs_task_definition.service.arn_without_revision}:*"], local.one_off_arns)
    condition {
      test     = "StringEquals"
      variable = "ecs:CreateAction"
      values   = ["RegisterTaskDefinition"]
    }
  }
  statement {
    sid       = "PassRoles"
    actions   = ["iam:PassRole"]
    resources = [aws_iam_role.execution.arn, aws_iam_role.task.arn]
    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["ecs-tasks.amazonaws.com"]
    }
  }
  dynamic "statement" {
    for_each = aws_iam_role.shift
    content {
      sid       = "PassShift"
      actions   = ["iam:PassRole"]
      resources = [statement.value.arn]
      condition {
        test     = "StringEquals"
        variable = "iam:PassedToService"
        values   = ["ecs.amazonaws.com"]
      }
    }
  }
  statement {
    sid       = "ReadLogs"
    actions   = ["logs:GetLogEvents"]
    resources = ["${aws_cloudwatch_log_group.this.arn}:*"]
  }
  statement {
    sid       = "FindAndTagImages"
    actions   = ["ecr:BatchGetImage", "ecr:DescribeImages", "ecr:PutImage"]
    resources = [data.aws_ecr_repository.this.arn]
  }
}

# RDS sends its operating system's figures to CloudWatch.

resource "aws_iam_role" "database_monitoring" {
  name                 = "${local.prefix}-database-monitoring"
  permissions_boundary = local.boundary_arn
  assume_role_policy   = data.aws_iam_policy_document.database_monitoring_assume.json
}

data "aws_iam_policy_document" "database_monitoring_assume" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["monitoring.rds.amazonaws.com"]
    }
  }
}

resource "aws_iam_role_policy_attachment" "database_monitoring" {
  role       = aws_iam_role.database_monitoring.name
  policy_arn = "arn:aws:iam::aws:policy/service-role/AmazonRDSEnhancedMonitoringRole"
}

# RDS Proxy reads the one secret that it needs.

resource "aws_iam_role" "proxy" {
  count                = var.use_rds_proxy ? 1 : 0
  name                 = "${local.prefix}-database-proxy"
  permissions_boundary = local.boundary_arn
  assume_role_policy   = data.aws_iam_policy_document.proxy_assume.json
}

data "aws_iam_policy_document" "proxy_assume" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["rds.amazonaws.com"]
    }
  }
}

resource "aws_iam_role_policy" "proxy" {
  count  = var.use_rds_proxy ? 1 : 0
  name   = "read-secret"
  role   = aws_iam_role.proxy[0].id
  policy = data.aws_iam_policy_document.proxy[0].json
}

data "aws_iam_policy_document" "proxy" {
  count = var.use_rds_proxy ? 1 : 0
  statement {
    actions   = ["secretsmanager:GetSecretValue"]
    resources = [for secret in aws_secretsmanager_secret.proxy : secret.arn]
  }
  statement {
    actions   = ["kms:Decrypt"]
    resources = [aws_kms_key.this.arn]
  }
}

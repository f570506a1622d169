# What exists once an account: the images, GitHub's way in, and the limits of every role that environments make. An
# administrator applies it by hand; no workflow may, for a workflow must not widen its own rights.

terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source = "hashicorp/aws"
      # This one and no other: its checksum is in .terraform.lock.hcl.
      version = "5.100.0"
    }
  }

  # terraform init -backend-config=account.s3.tfbackend
  backend "s3" {
    encrypt      = true
    use_lockfile = true
  }
}

provider "aws" {
  region              = var.region
  allowed_account_ids = [var.account_id]

  default_tags {
    tags = {
      Project   = "rupaya"
      ManagedBy = "terraform"
    }
  }
}

variable "account_id" {
  description = "The AWS account; any other is refused."
  type        = string
  default     = "590184132516"
}

variable "region" {
  description = "The AWS region."
  type        = string
  default     = "us-east-1"
}

variable "github_repository" {
  description = "OWNER/NAME of the repository whose workflows may build, plan and apply."
  type        = string
  default     = "rupaya/rupaya"
}

variable "state_bucket" {
  description = "The S3 bucket that holds Terraform's states."
  type        = string
  default     = "rupaya-terraform-state-590184132516"
}

variable "zone_id" {
  description = "The Route 53 zone of the environments' names, where they are to make their records themselves; else empty."
  type        = string
  default     = ""
}

variable "hostnames" {
  description = "The environments' names in that zone."
  type        = map(string)
  default     = { staging = "staging.api.rupaya.example", production = "api.rupaya.example" }
}

# As in infra/existing.tf: what the account has already is taken over and not made.

variable "existing" {
  description = "What the account has already, and where: { repository = \"rupaya-backend\", github = \"arn:aws:iam::…:oidc-provider/token.actions.githubusercontent.com\" }."
  type        = map(string)
  default     = {}

  validation {
    condition     = length(setsubtract(keys(var.existing), ["repository", "github"])) == 0
    error_message = "Known here are repository and github."
  }
}

import {
  for_each = contains(keys(var.existing), "repository") ? { only = var.existing.repository } : {}
  to       = aws_ecr_repository.this
  id       = each.value
}

import {
  for_each = contains(keys(var.existing), "github") ? { only = var.existing.github } : {}
  to       = aws_iam_openid_connect_provider.github
  id       = each.value
}

# Images

resource "aws_ecr_repository" "this" {
  # checkov:skip=CKV_AWS_51: The tags latest, staging and production move, and this provider knows no exceptions; deploy/tags.py makes all others immutable.
  name                 = "rupaya-backend"
  image_tag_mutability = "MUTABLE"

  image_scanning_configuration {
    scan_on_push = true
  }

  encryption_configuration {
    encryption_type = "KMS"
    kms_key         = aws_kms_key.images.arn
  }

  lifecycle {
    # The first can be had only by making the repository anew, without its images: one that was taken over keeps its own.
    # The second is what deploy/tags.py has made of it.
    ignore_changes = [encryption_configuration, image_tag_mutability]
  }
}

resource "aws_kms_key" "images" {
  description             = "rupaya images"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  policy                  = data.aws_iam_policy_document.images_key.json
}

data "aws_iam_policy_document" "images_key" {
  # checkov:skip=CKV_AWS_109: A key policy's "*" is the key itself, and the account's administrators must be able to manage it.
  # checkov:skip=CKV_AWS_111: As above.
  # checkov:skip=CKV_AWS_356: As above.
  statement {
    actions   = ["kms:*"]
    resources = ["*"]
    principals {
      type        = "AWS"
      identifiers = ["arn:aws:iam::${var.account_id}:root"]
    }
  }
}

resource "aws_ecr_lifecycle_policy" "this" {
  repository = aws_ecr_repository.this.name
  policy = jsonencode({
    # What a rule selects, no later one expires: what runs now, and what ran before it, stay however old they are. A rule
    # for each, for an image must have a tag of every prefix that a rule names.
    rules = concat(
      [
        for index, name in ["production", "staging", "latest"] : {
          rulePriority = index + 1
          description  = "Whatever is tagged ${name}, or ${name}-previous"
          selection    = { tagStatus = "tagged", tagPrefixList = [name], countType = "imageCountMoreThan", countNumber = 10 }
          action       = { type = "expire" }
        }
      ],
      [
        {
          rulePriority = 4
          description  = "A hundred releases to go back to"
          selection    = { tagStatus = "tagged", tagPrefixList = ["v"], countType = "imageCountMoreThan", countNumber = 100 }
          action       = { type = "expire" }
        },
      ],
      [
        {
          rulePriority = 5
          description  = "What lost its last tag is of no use after a week"
          selection    = { tagStatus = "untagged", countType = "sinceImagePushed", countUnit = "days", countNumber = 7 }
          action       = { type = "expire" }
        },
      ],
    )
  })
}

# GitHub's way in: tokens that live for minutes; there is no key to lose.

resource "aws_iam_openid_connect_provider" "github" {
  url            = "https://token.actions.githubusercontent.com"
  client_id_list = ["sts.amazonaws.com"]
}

locals {
  # Each role, and the kinds of workflow run that may assume it.
  subjects = {
    build            = ["repo:${var.github_repository}:ref:refs/heads/main"]
    plan             = ["repo:${var.github_repository}:pull_request", "repo:${var.github_repository}:ref:refs/heads/main"]
    apply-staging    = ["repo:${var.github_repository}:environment:infrastructure-staging"]
    apply-production = ["repo:${var.github_repository}:environment:infrastructure-production"]
  }
  environments = toset(["staging", "production"])
}

data "aws_iam_policy_document" "assume" {
  for_each = local.subjects
  statement {
    actions = ["sts:AssumeRoleWithWebIdentity"]
    principals {
      type        = "Federated"
      identifiers = [aws_iam_openid_connect_provider.github.arn]
    }
    condition {
      test     = "StringEquals"
      variable = "token.actions.githubusercontent.com:aud"
      values   = ["sts.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "token.actions.githubusercontent.com:sub"
      values   = each.value
    }
  }
}

resource "aws_iam_role" "github" {
  for_each           = local.subjects
  name               = "rupaya-github-${each.key}"
  assume_role_policy = data.aws_iam_policy_document.assume[each.key].json
}

# Build: push images, and nothing else

resource "aws_iam_role_policy" "build" {
  name   = "push"
  role   = aws_iam_role.github["build"].id
  policy = data.aws_iam_policy_document.build.json
}

data "aws_iam_policy_document" "build" {
  # checkov:skip=CKV_AWS_356: ecr:GetAuthorizationToken knows no resource.
  statement {
    actions   = ["ecr:GetAuthorizationToken"]
    resources = ["*"]
  }
  statement {
    actions = [
      "ecr:BatchCheckLayerAvailability",
      "ecr:BatchGetImage",
      "ecr:CompleteLayerUpload",
      "ecr:DescribeImages",
      "ecr:GetDownloadUrlForLayer",
      "ecr:InitiateLayerUpload",
      "ecr:PutImage",
      "ecr:UploadLayerPart",
    ]
    resources = [aws_ecr_repository.this.arn]
  }
}

# Plan: see everything but secrets and data; write nothing but the lock beside the state

resource "aws_iam_role_policy_attachment" "plan" {
  # It may not read secrets' values, and no secret is in the state.
  role       = aws_iam_role.github["plan"].name
  policy_arn = "arn:aws:iam::aws:policy/ReadOnlyAccess"
}

resource "aws_iam_role_policy" "plan" {
  name   = "state"
  role   = aws_iam_role.github["plan"].id
  policy = data.aws_iam_policy_document.plan.json
}

data "aws_iam_policy_document" "plan" {
  # ReadOnlyAccess reads data too, which a pull request has no business with.
  statement {
    sid    = "NoData"
    effect = "Deny"
    actions = [
      "athena:GetQueryResults*", "dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:GetRecords",
      "dynamodb:PartiQL*", "dynamodb:Query", "dynamodb:Scan", "kinesis:GetRecords", "kinesis:SubscribeToShard",
      "lambda:GetFunction", "logs:FilterLogEvents", "logs:GetLogEvents", "logs:GetLogRecord", "logs:GetQueryResults",
      "logs:StartLiveTail", "logs:StartQuery", "logs:Unmask", "rds:DownloadCompleteDBLogFile",
      "rds:DownloadDBLogFilePortion", "secretsmanager:BatchGetSecretValue", "secretsmanager:GetSecretValue",
      "sqs:ReceiveMessage", "ssm:GetParameterHistory",
    ]
    resources = ["*"]
  }
  statement {
    sid           = "NoOtherBuckets"
    effect        = "Deny"
    actions       = ["s3:GetObject", "s3:GetObjectVersion", "s3:GetObjectTorrent", "s3:SelectObjectContent"]
    not_resources = ["arn:aws:s3:::${var.state_bucket}/*"]
  }
}

# Apply: what the root module makes, by name where AWS knows names. IAM comes last: only bounded roles of that
# environment.

resource "aws_iam_role_policy" "apply" {
  for_each = local.environments
  name     = "apply"
  role     = aws_iam_role.github["apply-${each.key}"].id
  policy   = data.aws_iam_policy_document.apply[each.key].json
}

data "aws_iam_policy_document" "apply" {
  # checkov:skip=CKV_AWS_109: Resources with "*" are those that AWS names only when they exist; roles are bounded, below.
  # checkov:skip=CKV_AWS_111: As above.
  # checkov:skip=CKV_AWS_356: As above.
  for_each = local.environments

  statement {
    sid = "Look"
    actions = [
      "application-autoscaling:Describe*", "application-autoscaling:List*", "cloudwatch:Describe*", "cloudwatch:List*",
      "ec2:Describe*", "ecr:Describe*", "ecr:List*", "ecs:Describe*", "ecs:List*", "elasticloadbalancing:Describe*",
      "events:Describe*", "events:List*", "iam:Get*", "iam:List*", "kms:Describe*", "kms:List*", "kms:Get*",
      "logs:Describe*", "logs:List*", "rds:Describe*", "rds:List*", "route53:Get*", "route53:List*", "scheduler:Get*",
      "scheduler:List*", "secretsmanager:Describe*", "secretsmanager:List*",
      "secretsmanager:GetResourcePolicy", "sns:Get*", "sns:List*", "ssm:Describe*", "ssm:List*",
    ]
    resources = ["*"]
  }

  statement {
    sid = "NamedOnlyOnceMade"
    actions = [
      "application-autoscaling:DeregisterScalableTarget", "application-autoscaling:DeleteScalingPolicy",
      "application-autoscaling:PutScalingPolicy", "application-autoscaling:RegisterScalableTarget",
      "application-autoscaling:TagResource", "application-autoscaling:UntagResource",
      "ec2:AuthorizeSecurityGroupEgress", "ec2:AuthorizeSecurityGroupIngress", "ec2:CreateSecurityGroup",
      "ec2:CreateTags", "ec2:DeleteSecurityGroup", "ec2:DeleteTags", "ec2:ModifySecurityGroupRules",
      "ec2:RevokeSecurityGroupEgress", "ec2:RevokeSecurityGroupIngress",
      "ecs:DeregisterTaskDefinition", "ecs:RegisterTaskDefinition",
      "kms:CreateAlias", "kms:CreateKey", "kms:DeleteAlias",
      # A new proxy has no name in its address, and knows no other resource.
      "rds:CreateDBProxy",
    ]
    resources = ["*"]
    condition {
      test     = "StringEquals"
      variable = "aws:RequestedRegion"
      values   = [var.region]
    }
  }

  # A key has no name either, but a tag from its first moment on.
  statement {
    sid       = "TagNewKeys"
    actions   = ["kms:TagResource"]
    resources = ["*"]
    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/Environment"
      values   = [each.key]
    }
    # Whoever could change the tag of another environment's key could then use it.
    condition {
      test     = "StringEqualsIfExists"
      variable = "aws:ResourceTag/Environment"
      values   = [each.key]
    }
  }
  statement {
    sid = "KeysOfThisEnvironment"
    actions = [
      "kms:CreateGrant", "kms:Decrypt", "kms:EnableKeyRotation", "kms:GenerateDataKey*", "kms:PutKeyPolicy",
      "kms:ScheduleKeyDeletion", "kms:UntagResource", "kms:UpdateKeyDescription",
    ]
    resources = ["*"]
    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/Environment"
      values   = [each.key]
    }
  }

  statement {
    sid = "ThisEnvironment"
    actions = [
      "cloudwatch:*", "ecs:*", "elasticloadbalancing:*", "events:*", "logs:*", "rds:*", "scheduler:*",
      "secretsmanager:*", "sns:*", "ssm:*",
    ]
    resources = concat(
      [for service in ["cloudwatch", "ecs", "elasticloadbalancing", "events", "rds", "scheduler", "sns"] :
      "arn:aws:${service}:${var.region}:${var.account_id}:*rupaya-${each.key}*"],
      # Cluster, service and database carry the plain names in production.
      ["arn:aws:ecs:${var.region}:${var.account_id}:task-definition/${local.services[each.key]}*",
        "arn:aws:ecs:${var.region}:${var.account_id}:cluster/${local.plain[each.key]}",
        "arn:aws:ecs:${var.region}:${var.account_id}:service/${local.plain[each.key]}/*",
        "arn:aws:logs:${var.region}:${var.account_id}:log-group:/ecs/${local.services[each.key]}*",
        "arn:aws:logs:${var.region}:${var.account_id}:log-group:/aws/rds/instance/${local.databases[each.key]}/*",
        "arn:aws:rds:${var.region}:${var.account_id}:*:${local.databases[each.key]}",
        "arn:aws:rds:${var.region}:${var.account_id}:*:${local.databases[each.key]}-final-*",
        # A proxy's name is not in its address.
        "arn:aws:rds:${var.region}:${var.account_id}:db-proxy:*",
        "arn:aws:rds:${var.region}:${var.account_id}:target-group:*",
        "arn:aws:secretsmanager:${var.region}:${var.account_id}:secret:${local.plain[each.key]}/*",
      "arn:aws:ssm:${var.region}:${var.account_id}:parameter/rupaya/${each.key}/*"],
    )
  }

  # Its one record, where the account has the zone: no other name of it, such as the other environment's.
  dynamic "statement" {
    for_each = var.zone_id == "" ? [] : [var.zone_id]
    content {
      sid       = "Record"
      actions   = ["route53:ChangeResourceRecordSets"]
      resources = ["arn:aws:route53:::hostedzone/${statement.value}"]
      condition {
        test     = "ForAllValues:StringEquals"
        variable = "route53:ChangeResourceRecordSetsNormalizedRecordNames"
        values   = [var.hostnames[each.key]]
      }
    }
  }

  # RDS makes a new database's first password, in a secret of its own, on behalf of whoever makes the database.
  statement {
    sid       = "FirstPassword"
    actions   = ["secretsmanager:CreateSecret", "secretsmanager:TagResource"]
    resources = ["arn:aws:secretsmanager:${var.region}:${var.account_id}:secret:rds!db-*"]
  }

  statement {
    sid = "BoundedRoles"
    actions = [
      "iam:AttachRolePolicy", "iam:CreateRole", "iam:DeleteRolePolicy", "iam:DetachRolePolicy", "iam:PutRolePolicy",
      "iam:PutRolePermissionsBoundary",
    ]
    resources = ["arn:aws:iam::${var.account_id}:role/rupaya-${each.key}-*"]
    condition {
      test     = "StringEquals"
      variable = "iam:PermissionsBoundary"
      values   = [aws_iam_policy.boundary[each.key].arn]
    }
  }

  statement {
    sid = "ManageRoles"
    actions = [
      "iam:DeleteRole", "iam:PassRole", "iam:TagRole", "iam:UntagRole", "iam:UpdateAssumeRolePolicy", "iam:UpdateRole",
    ]
    resources = ["arn:aws:iam::${var.account_id}:role/rupaya-${each.key}-*"]
  }

  statement {
    sid       = "ServiceLinkedRoles"
    actions   = ["iam:CreateServiceLinkedRole"]
    resources = ["arn:aws:iam::${var.account_id}:role/aws-service-role/*"]
  }
}

locals {
  services  = { staging = "rupaya-backend-staging", production = "rupaya-backend" }
  databases = { staging = "rupaya-postgres-staging", production = "rupaya-postgres" }
  plain     = { staging = "rupaya-staging", production = "rupaya" }
}

# Plan and apply share the states, each environment its own; the lock is a file beside it.

data "aws_iam_policy_document" "state" {
  for_each = {
    plan             = ["staging", "production"]
    apply-staging    = ["staging"]
    apply-production = ["production"]
  }
  statement {
    actions   = ["s3:ListBucket"]
    resources = ["arn:aws:s3:::${var.state_bucket}"]
  }
  statement {
    actions   = each.key == "plan" ? ["s3:GetObject"] : ["s3:GetObject", "s3:PutObject"]
    resources = [for name in each.value : "arn:aws:s3:::${var.state_bucket}/${name}.tfstate"]
  }
  statement {
    actions   = ["s3:DeleteObject", "s3:GetObject", "s3:PutObject"]
    resources = [for name in each.value : "arn:aws:s3:::${var.state_bucket}/${name}.tfstate.tflock"]
  }
}

resource "aws_iam_role_policy" "state" {
  for_each = data.aws_iam_policy_document.state
  name     = "terraform-state"
  role     = aws_iam_role.github[each.key].id
  policy   = each.value.json
}

# No role of an environment can do more than this, whatever its own policy says: of secrets and keys it has its own.

resource "aws_iam_policy" "boundary" {
  for_each    = local.environments
  name        = "rupaya-boundary-${each.key}"
  description = "The most that any role of rupaya ${each.key} can do"
  policy      = data.aws_iam_policy_document.boundary[each.key].json
}

data "aws_iam_policy_document" "boundary" {
  # checkov:skip=CKV_AWS_111: A boundary grants nothing; it only takes away. Each role's own policy names its resources.
  # checkov:skip=CKV_AWS_356: As above.
  # checkov:skip=CKV_AWS_108: As above.
  # checkov:skip=CKV_AWS_107: As above.
  for_each = local.environments

  statement {
    actions = [
      "cloudwatch:DescribeAlarms", "cloudwatch:PutMetricData", "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:DescribeImages",
      "ecr:GetAuthorizationToken", "ecr:GetDownloadUrlForLayer", "ecr:PutImage", "ecs:DescribeServices",
      "ecs:DescribeTaskDefinition", "ecs:DescribeTasks", "ecs:ListTasks", "ecs:RegisterTaskDefinition", "ecs:RunTask",
      "ecs:TagResource", "ecs:UpdateService", "elasticloadbalancing:DescribeTargetHealth",
      "logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:GetLogEvents",
      "logs:PutLogEvents", "logs:PutRetentionPolicy", "rds:DescribeDBInstances", "ssm:GetParameter",
    ]
    resources = ["*"]
  }
  statement {
    actions   = ["ssm:PutParameter"]
    resources = ["arn:aws:ssm:${var.region}:${var.account_id}:parameter/rupaya/${each.key}/served"]
  }
  statement {
    actions   = ["secretsmanager:GetSecretValue"]
    resources = ["arn:aws:secretsmanager:${var.region}:${var.account_id}:secret:${local.plain[each.key]}/*"]
  }
  statement {
    # The master user's, which RDS names by chance, and marks with the database that it opens.
    actions   = ["secretsmanager:GetSecretValue"]
    resources = ["arn:aws:secretsmanager:${var.region}:${var.account_id}:secret:rds!db-*"]
    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/aws:rds:primaryDBInstanceArn"
      values   = ["arn:aws:rds:${var.region}:${var.account_id}:db:${local.databases[each.key]}"]
    }
  }
  statement {
    actions   = ["kms:Decrypt"]
    resources = ["*"]
    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/Environment"
      values   = [each.key]
    }
  }
  statement {
    actions   = ["iam:PassRole"]
    resources = ["arn:aws:iam::${var.account_id}:role/rupaya-*"]
    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["ecs-tasks.amazonaws.com", "ecs.amazonaws.com"]
    }
  }
  # Where ECS moves requests from one release to the next by weight.
  statement {
    actions = [
      "elasticloadbalancing:DescribeListeners", "elasticloadbalancing:DescribeRules", "elasticloadbalancing:DescribeTargetGroups",
    ]
    resources = ["*"]
  }
  statement {
    actions = [
      "elasticloadbalancing:DeregisterTargets", "elasticloadbalancing:ModifyListener", "elasticloadbalancing:ModifyRule",
      "elasticloadbalancing:RegisterTargets",
    ]
    resources = ["arn:aws:elasticloadbalancing:${var.region}:${var.account_id}:*rupaya-${each.key}*"]
  }
}

output "repository_url" {
  description = "Where images are pushed."
  value       = aws_ecr_repository.this.repository_url
}

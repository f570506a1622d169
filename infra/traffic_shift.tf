# Optional: a new release gets some of the requests first. ECS does it itself, with two target groups whose weights it moves;
# deploy/ecs.py asks it to, for this provider has no names for it yet.

locals {
  shifts  = var.traffic_shift.strategy != "rolling"
  shift_s = local.shifts ? 60 * var.traffic_shift.minutes * (var.traffic_shift.strategy == "linear" ? ceil(100 / var.traffic_shift.percent) : 1) : 0
}

resource "aws_lb_target_group" "other" {
  # checkov:skip=CKV_AWS_378: As the first one's: TLS ends at the load balancer.
  count                = local.shifts ? 1 : 0
  name                 = "${local.prefix}-other"
  vpc_id               = aws_lb_target_group.this.vpc_id
  target_type          = aws_lb_target_group.this.target_type
  protocol             = aws_lb_target_group.this.protocol
  port                 = aws_lb_target_group.this.port
  deregistration_delay = aws_lb_target_group.this.deregistration_delay

  health_check {
    path                = aws_lb_target_group.this.health_check[0].path
    matcher             = aws_lb_target_group.this.health_check[0].matcher
    interval            = aws_lb_target_group.this.health_check[0].interval
    timeout             = aws_lb_target_group.this.health_check[0].timeout
    healthy_threshold   = aws_lb_target_group.this.health_check[0].healthy_threshold
    unhealthy_threshold = aws_lb_target_group.this.health_check[0].unhealthy_threshold
  }
}

# The rule whose weights ECS moves; an apply in the middle of it, or after it, undoes nothing.
resource "aws_lb_listener_rule" "shift" {
  count        = local.shifts ? 1 : 0
  listener_arn = aws_lb_listener.https.arn
  priority     = 1

  action {
    type = "forward"
    forward {
      target_group {
        arn    = aws_lb_target_group.this.arn
        weight = 100
      }
      target_group {
        arn    = aws_lb_target_group.other[0].arn
        weight = 0
      }
    }
  }

  condition {
    path_pattern {
      values = ["/*"]
    }
  }

  lifecycle {
    ignore_changes = [action]
  }
}

resource "aws_iam_role" "shift" {
  count                = local.shifts ? 1 : 0
  name                 = "${local.prefix}-traffic-shift"
  permissions_boundary = local.boundary_arn
  assume_role_policy   = data.aws_iam_policy_document.shift_assume.json
}

data "aws_iam_policy_document" "shift_assume" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ecs.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [var.account_id]
    }
  }
}

resource "aws_iam_role_policy" "shift" {
  count  = local.shifts ? 1 : 0
  name   = "move-traffic"
  role   = aws_iam_role.shift[0].id
  policy = data.aws_iam_policy_document.shift.json
}

data "aws_iam_policy_document" "shift" {
  # checkov:skip=CKV_AWS_356: What only describes knows no resource.
  statement {
    sid = "Look"
    actions = [
      "elasticloadbalancing:DescribeListeners", "elasticloadbalancing:DescribeRules", "elasticloadbalancing:DescribeTargetGroups",
      "elasticloadbalancing:DescribeTargetHealth",
    ]
    resources = ["*"]
  }
  statement {
    sid = "Move"
    actions = [
      "elasticloadbalancing:DeregisterTargets", "elasticloadbalancing:ModifyListener", "elasticloadbalancing:ModifyRule",
      "elasticloadbalancing:RegisterTargets",
    ]
    resources = ["arn:aws:elasticloadbalancing:${var.region}:${var.account_id}:*rupaya-${var.environment}*"]
  }
}

resource "aws_lb" "this" {
  # checkov:skip=CKV_AWS_150: A variable, true by default; false is the first of the two steps that destroy it.
  # checkov:skip=CKV_AWS_91: A variable: the bucket is the account's, and so are its rules of retention.
  # checkov:skip=CKV2_AWS_28: Nothing here takes anonymous input but the sign-in form of the admin site; restrict client_cidrs, or attach the account's web ACL to the output load_balancer_arn.
  name                       = local.prefix
  load_balancer_type         = "application"
  security_groups            = [aws_security_group.load_balancer.id]
  subnets                    = var.load_balancer_subnet_ids
  drop_invalid_header_fields = true
  enable_deletion_protection = var.deletion_protection
  # gunicorn keeps idle connections for 75 s: it must be the one that waits longer.
  idle_timeout = 60

  dynamic "access_logs" {
    for_each = var.load_balancer_log_bucket == "" ? [] : [var.load_balancer_log_bucket]
    content {
      enabled = true
      bucket  = access_logs.value
      prefix  = local.prefix
    }
  }
}

resource "aws_lb_target_group" "this" {
  # checkov:skip=CKV_AWS_378: TLS ends at the load balancer; from there to the tasks it is our own subnets, between two security groups that know only each other.
  name        = local.prefix
  vpc_id      = var.vpc_id
  target_type = "ip"
  protocol    = "HTTP"
  port        = local.port
  # Requests that are under way when a task leaves end before it is told to stop.
  deregistration_delay = 30

  health_check {
    path              = "/health/ready"
    matcher           = "200"
    interval          = 10
    timeout           = 5
    healthy_threshold = 2
    # ECS replaces a task that is unhealthy here, and no new task mends a database: 100 s is what RDS needs to fail over
    # to its standby. A task that is broken itself is found within 15 s by the container's own check.
    unhealthy_threshold = 10
  }
}

resource "aws_lb_listener" "https" {
  load_balancer_arn = aws_lb.this.arn
  protocol          = "HTTPS"
  port              = 443
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-2-2021-06"
  certificate_arn   = var.certificate_arn

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.this.arn
  }
}

resource "aws_route53_record" "this" {
  count   = var.zone_id == "" ? 0 : 1
  zone_id = var.zone_id
  name    = var.hostname
  type    = "A"

  alias {
    name    = aws_lb.this.dns_name
    zone_id = aws_lb.this.zone_id
    # There is one load balancer; an answer that leaves it out leads nowhere.
    evaluate_target_health = false
  }
}

resource "aws_lb_listener" "http" {
  load_balancer_arn = aws_lb.this.arn
  protocol          = "HTTP"
  port              = 80

  default_action {
    type = "redirect"
    redirect {
      protocol    = "HTTPS"
      port        = "443"
      status_code = "HTTP_301"
    }
  }
}

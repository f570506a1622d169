output "load_balancer_dns_name" {
  description = "Where the record of var.hostname must point."
  value       = aws_lb.this.dns_name
}

output "load_balancer_arn" {
  description = "For the account's web ACL."
  value       = aws_lb.this.arn
}

output "deploy_role_arn" {
  description = "The role that the deployment workflow assumes."
  value       = aws_iam_role.deploy.arn
}

output "database_address" {
  description = "The database itself, not the proxy."
  value       = aws_db_instance.this.address
}

output "log_group" {
  description = "Where every task's lines go."
  value       = aws_cloudwatch_log_group.this.name
}

output "health_check_grace_period_s" {
  description = "How long a task may migrate before ECS asks whether it is healthy."
  value       = local.grace_period_s
}

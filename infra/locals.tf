data "aws_caller_identity" "current" {}

data "aws_vpc" "this" {
  id = var.vpc_id
}

# Made once an account, by account/: both environments deploy the same images from it.
data "aws_ecr_repository" "this" {
  name = "rupaya-backend"
}

locals {
  # Production has the plain names; staging shares the account, so its names must differ.
  suffix    = var.environment == "production" ? "" : "-${var.environment}"
  service   = "rupaya-backend${local.suffix}"
  cluster   = "rupaya${local.suffix}"
  prefix    = "rupaya-${var.environment}"
  log_group = "/ecs/${local.service}"

  # The container's name, which is the middle of each log stream's: ecs/rupaya-backend/TASK-ID.
  container         = "rupaya-backend"
  migrate_family    = "${local.service}-migrate"
  migrate_container = "rupaya-migrate"
  port              = 8000

  # From its start to its first answer a task may wait for the database, then for the task that migrates, and then migrate
  # for as long as its own deadline, which begins when it has the lock: the three come one after the other. Whoever stops
  # it sooner stops a migration that would have succeeded. A minute is for pulling the image's last layers and starting
  # Python.
  grace_period_s = var.migrate_db_wait_s + var.migrate_lock_wait_s + var.migrate_deadline_s + 60
  # From its server's start to its first good answer: there is nothing to wait for any more but processes and connections.
  ready_within_s = 300
  # The tag that the deployment moves onto each image that has proved itself here. Deployments go by digest; this is
  # only what a task definition says that Terraform has just written.
  image = "${data.aws_ecr_repository.this.repository_url}:${var.environment}"

  boundary_arn = "arn:aws:iam::${var.account_id}:policy/rupaya-boundary-${var.environment}"
}

environment = "staging"
hostname    = "staging.rupaya.example"

# These are of the account that this is applied to: replace them before the first apply.
alarm_emails             = ["operations@rupaya.example"]
certificate_arn          = "arn:aws:acm:us-east-1:590184132516:certificate/00000000-0000-0000-0000-000000000000"
vpc_id                   = "vpc-00000000000000000"
load_balancer_subnet_ids = ["subnet-00000000000000001", "subnet-00000000000000002"]
task_subnet_ids          = ["subnet-00000000000000003", "subnet-00000000000000004"]
database_subnet_ids      = ["subnet-00000000000000003", "subnet-00000000000000004"]

# A rehearsal of production at a lower price: two tasks, for one would rehearse nothing, but no standby database.
maximum_tasks        = 4
database_multi_az    = false
database_backup_days = 3
log_retention_days   = 30

# Where

variable "account_id" {
  description = "The AWS account; any other is refused."
  type        = string
  default     = "590184132516"

  validation {
    condition     = can(regex("^[0-9]{12}$", var.account_id))
    error_message = "An AWS account id has twelve digits."
  }
}

variable "region" {
  description = "The AWS region."
  type        = string
  default     = "us-east-1"
}

variable "environment" {
  description = "Which of the two this is."
  type        = string

  validation {
    condition     = contains(["staging", "production"], var.environment)
    error_message = "The environment is staging or production."
  }
}

# The network, which other things share and which is therefore not made here: network/ makes one where there is none

variable "vpc_id" {
  description = "The VPC; its enableDnsHostnames must be on."
  type        = string
}

variable "load_balancer_subnet_ids" {
  description = "Public subnets, in two availability zones or more."
  type        = list(string)

  validation {
    condition     = length(var.load_balancer_subnet_ids) >= 2
    error_message = "A load balancer needs subnets in two availability zones or more."
  }
}

variable "task_subnet_ids" {
  description = "Private subnets for the tasks, with a way (NAT or VPC endpoints) to ECR, S3, CloudWatch Logs and Secrets Manager."
  type        = list(string)

  validation {
    condition     = length(var.task_subnet_ids) >= 2
    error_message = "Tasks need subnets in two availability zones or more, or one zone's failure ends the service."
  }
}

variable "database_subnet_ids" {
  description = "Private subnets for the database, in two availability zones or more."
  type        = list(string)

  validation {
    condition     = length(var.database_subnet_ids) >= 2
    error_message = "RDS needs subnets in two availability zones or more."
  }
}

variable "database_client_security_groups" {
  description = "Security groups of hosts in this VPC from which people may reach the database, beside the tasks: a VPN's, or one that Systems Manager forwards ports through."
  type        = list(string)
  default     = []
}

variable "client_cidrs" {
  description = "Who may reach the load balancer. Where it is not everybody, a deployment cannot ask it from GitHub, and takes ECS' and its health checks' word."
  type        = list(string)
  default     = ["0.0.0.0/0"]
  validation {
    condition     = length(var.client_cidrs) > 0 && alltrue([for network in var.client_cidrs : can(cidrnetmask(network))])
    error_message = "IPv4 networks such as 10.0.0.0/16, and one at least: with none nobody reaches the service."
  }
}

# The name

variable "hostname" {
  description = "The name that people and the deployment reach the service by."
  type        = string
  validation {
    condition     = can(regex("^[a-z0-9]([a-z0-9-]*[a-z0-9])?([.][a-z0-9]([a-z0-9-]*[a-z0-9])?)+$", var.hostname))
    error_message = "One host name in small letters, such as api.example.com: no scheme, no port, no wildcard."
  }
}

variable "certificate_arn" {
  description = "The ACM certificate of that name."
  type        = string
}

variable "zone_id" {
  description = "The Route 53 zone of that name, whose record is then made here; empty where people make it, pointing at the output load_balancer_dns_name."
  type        = string
  default     = ""
}

variable "load_balancer_log_bucket" {
  description = "An S3 bucket for the load balancer's access logs, with a policy that lets it write there; empty for none."
  type        = string
  default     = ""
}

# The service

variable "cpu_architecture" {
  description = "What the image is built for; for ARM64 set the variable CPU_ARCHITECTURE in GitHub to it, too."
  type        = string
  default     = "X86_64"

  validation {
    condition     = contains(["X86_64", "ARM64"], var.cpu_architecture)
    error_message = "Fargate runs X86_64 or ARM64."
  }
}

variable "task_cpu" {
  description = "CPU units of a task; 1024 are one core."
  type        = number
  default     = 512
}

variable "task_memory_mib" {
  description = "Memory of a task."
  type        = number
  default     = 1024

  validation {
    condition = contains(lookup({
      "256"   = [512, 1024, 2048]
      "512"   = range(1024, 4097, 1024)
      "1024"  = range(2048, 8193, 1024)
      "2048"  = range(4096, 16385, 1024)
      "4096"  = range(8192, 30721, 1024)
      "8192"  = range(16384, 61441, 4096)
      "16384" = range(32768, 122881, 8192)
    }, tostring(var.task_cpu), []), var.task_memory_mib)
    error_message = "Fargate has no task of that task_cpu and task_memory_mib together; 512 and 1024 are one, 1024 and 2048 another."
  }
}

variable "web_concurrency" {
  description = "gunicorn's worker processes in a task."
  type        = number
  default     = 2
  validation {
    condition     = contains(range(1, 65), var.web_concurrency)
    error_message = "The service refuses WEB_CONCURRENCY unless it is a whole number from 1 to 64."
  }
}

variable "minimum_tasks" {
  description = "Autoscaling never goes below this."
  type        = number
  default     = 2

  validation {
    condition     = var.minimum_tasks >= 2
    error_message = "One task is an outage whenever it is replaced: 2 or more."
  }
}

variable "maximum_tasks" {
  description = "Autoscaling never goes above this. A rollout runs twice as many for a while: mind the database's connections."
  type        = number
  default     = 10
  validation {
    condition     = var.maximum_tasks >= var.minimum_tasks
    error_message = "maximum_tasks is less than minimum_tasks."
  }
}

variable "traffic_shift" {
  description = "How a deployment brings requests to a new release. `rolling`: task by task. `canary`: so many percent for so many minutes, then all. `linear`: so many percent more every so many minutes."
  type = object({
    strategy = string
    percent  = optional(number, 5)
    minutes  = optional(number, 5)
  })
  default = { strategy = "rolling" }

  validation {
    condition     = contains(["rolling", "canary", "linear"], var.traffic_shift.strategy)
    error_message = "Write rolling, canary or linear."
  }
  validation {
    condition     = var.traffic_shift.percent >= 3 && var.traffic_shift.percent < 100 && var.traffic_shift.minutes >= 1
    error_message = "ECS shifts 3 % or more at a time, for a minute or longer."
  }
  validation {
    condition     = floor(var.traffic_shift.minutes) == var.traffic_shift.minutes && floor(10 * var.traffic_shift.percent) == 10 * var.traffic_shift.percent
    error_message = "ECS takes whole minutes, and tenths of a percent."
  }
}

variable "migrate_db_wait_s" {
  description = "MIGRATE_DB_WAIT_S: how long a task waits for the database at its start."
  type        = number
  default     = 60

  validation {
    condition     = var.migrate_db_wait_s >= 0 && var.migrate_db_wait_s <= 86400
    error_message = "migrate refuses MIGRATE_DB_WAIT_S unless it is from 0 to 86400 seconds."
  }
}

variable "migrate_lock_wait_s" {
  description = "MIGRATE_LOCK_WAIT_S: how long a task waits for another one that migrates."
  type        = number
  default     = 960

  validation {
    condition     = var.migrate_lock_wait_s >= 0 && var.migrate_lock_wait_s <= 86400
    error_message = "migrate refuses MIGRATE_LOCK_WAIT_S unless it is from 0 to 86400 seconds."
  }
}

variable "migrate_deadline_s" {
  description = "MIGRATE_DEADLINE_S: how long a migration that meets a locked table is tried again."
  type        = number
  default     = 900

  validation {
    condition     = var.migrate_deadline_s >= 1 && var.migrate_deadline_s <= 86400
    error_message = "migrate refuses MIGRATE_DEADLINE_S unless it is from 1 to 86400 seconds."
  }
}

variable "extra_environment" {
  description = "Whatever else the README and docs/migrate.md let one set, such as { LOG_LEVEL = \"DEBUG\" }; it wins over what is set here."
  type        = map(string)
  default     = {}

  validation {
    condition     = length(setintersection(keys(var.extra_environment), ["SECRET_KEY", "DB_CREDENTIALS", "DB_USER", "DB_PASSWORD", "PGPASSWORD", "METRICS_TOKEN"])) == 0
    error_message = "What is secret goes into extra_secrets: a task definition is no place for it."
  }
  validation {
    condition     = alltrue([for name, value in var.extra_environment : can(regex("^[A-Za-z_][A-Za-z0-9_]*$", name)) && value != null])
    error_message = "Each is a variable's name and its value."
  }
  validation {
    condition     = length(setintersection(keys(var.extra_environment), ["MIGRATE_DB_WAIT_S", "MIGRATE_LOCK_WAIT_S", "MIGRATE_DEADLINE_S", "PORT", "BIND_ADDRESS", "RUPAYA_ENV", "RELEASE", "GIT_SHA", "DATABASE_URL", "DB_HOST", "DB_PORT", "DB_NAME", "MIGRATION_DATABASE_URL"])) == 0
    error_message = "More here goes by these than the container: the grace period by the waits, which are inputs of their own, the load balancer by the port, the deployment by the release, the policies by the database."
  }
  validation {
    condition     = alltrue([for value in values(var.extra_environment) : !can(regex("://[^/@]*:[^/@]+@", value))])
    error_message = "An address with a password goes into extra_secrets: a task definition is no place for it."
  }
}

variable "extra_secrets" {
  description = "Variables whose values are in Secrets Manager, such as { METRICS_TOKEN = \"arn:aws:secretsmanager:…\" }; they are not made here, and are called rupaya/… in production and rupaya-ENVIRONMENT/… elsewhere"
  type        = map(string)
  default     = {}

  validation {
    condition = alltrue([
      for arn in values(var.extra_secrets) :
      can(regex("^arn:aws:secretsmanager:[^:]+:[0-9]+:secret:rupaya${var.environment == "production" ? "" : "-${var.environment}"}/", arn))
    ])
    error_message = "Give the ARN of each secret, whose name begins with rupaya/ in production and rupaya-ENVIRONMENT/ elsewhere: others, and another environment's, are closed to the tasks."
  }
}

variable "log_retention_days" {
  description = "How long logs are kept. They tell what was migrated, when and by whom."
  type        = number
  default     = 400
}

# The database

variable "postgres_version" {
  description = "The major version; minor ones come by themselves in the maintenance window."
  type        = string
  default     = "17"
  validation {
    condition     = can(regex("^[1-9][0-9]$", var.postgres_version))
    error_message = "The major version alone, such as 17."
  }
}

variable "allow_major_upgrade" {
  description = "Whether a newer postgres_version is applied: at once, with the database away for minutes. Set it for that apply alone."
  type        = bool
  default     = false
}

variable "database_instance_class" {
  description = "The RDS instance class."
  type        = string
  default     = "db.t4g.small"
}

variable "database_storage_gib" {
  description = "The storage to begin with."
  type        = number
  default     = 20
  validation {
    condition     = var.database_storage_gib >= 20
    error_message = "RDS gives 20 GiB or more."
  }
}

variable "database_max_storage_gib" {
  description = "The storage that RDS may grow to by itself."
  type        = number
  default     = 200
  validation {
    condition     = var.database_max_storage_gib >= 1.1 * var.database_storage_gib
    error_message = "RDS wants room to grow: a tenth more than database_storage_gib at least."
  }
}

variable "database_multi_az" {
  description = "Whether a standby in another zone takes over when the database fails."
  type        = bool
  default     = true
}

variable "database_backup_days" {
  description = "How far back the database can be restored to any second."
  type        = number
  default     = 14

  validation {
    condition     = var.database_backup_days >= 1 && var.database_backup_days <= 35
    error_message = "From 1 to 35 days. With 0 there would be nothing to restore after a bad migration."
  }
}

variable "deletion_protection" {
  description = "Whether the database and the load balancer refuse to be destroyed."
  type        = bool
  default     = true
}

variable "use_rds_proxy" {
  description = "Whether the service reaches the database through RDS Proxy; migrations never do."
  type        = bool
  default     = false
}

# Who is told, and who deploys

variable "alarm_emails" {
  description = "Addresses that alarms are sent to; each must confirm, by a link in its first mail."
  type        = list(string)

  validation {
    condition     = length(var.alarm_emails) > 0
    error_message = "An alarm that reaches nobody is none: name one address or more."
  }
  validation {
    condition     = alltrue([for address in var.alarm_emails : can(regex("^[^@[:space:]]+@[^@[:space:]]+$", address))])
    error_message = "Each is an e-mail address."
  }
}

variable "github_repository" {
  description = "OWNER/NAME of the repository whose workflows may deploy."
  type        = string
  default     = "rupaya/rupaya"

  validation {
    condition     = can(regex("^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$", var.github_repository))
    error_message = "Write OWNER/NAME."
  }
}

terraform {
  # 1.11 locks a state in S3 by a file beside it.
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source = "hashicorp/aws"
      # This one and no other: its checksum is in .terraform.lock.hcl.
      version = "5.100.0"
    }
  }

  # Bucket, key and region come from environments/ENVIRONMENT.s3.tfbackend.
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
      Project     = "rupaya"
      Environment = var.environment
      ManagedBy   = "terraform"
    }
  }
}

#!/usr/bin/env python3
"""Give an environment's secrets their values, which Terraform neither knows nor may read.

    passwords.py --environment staging                          (those that have none)
    passwords.py --environment staging --renew db/password      (another one; deploy at once afterwards)

For an administrator, after the first `terraform apply`. A secret that has a value keeps it, so that it may be run again
and again. It prints no value. It needs boto3 and nothing of this project.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError, WaiterError

PASSWORD, KEY, PROXY = "db/password", "django/secret-key", "db/proxy"


class Secrets:
    """The three secrets of an environment, and the database that one of them opens."""

    def __init__(self, environment: str) -> None:
        suffix = "" if environment == "production" else f"-{environment}"
        self.folder = f"rupaya{suffix}"
        self.database = f"rupaya-postgres{suffix}"
        self.manager: Any = boto3.client("secretsmanager")
        self.rds: Any = boto3.client("rds")

    def name(self, which: str) -> str:
        """The whole name of a secret."""
        return f"{self.folder}/{which}"

    def has_value(self, which: str) -> bool:
        """Whether it was ever given one; asked without reading it."""
        stages = self.manager.describe_secret(SecretId=self.name(which)).get("VersionIdsToStages", {})
        return any("AWSCURRENT" in names for names in stages.values())

    def random(self, length: int) -> str:
        """Letters and digits, which need escaping nowhere."""
        found = self.manager.get_random_password(PasswordLength=length, ExcludePunctuation=True)
        return str(found["RandomPassword"])

    def write(self, which: str, value: str) -> None:
        """Make a value the one that tasks are given from now on."""
        self.manager.put_secret_value(SecretId=self.name(which), SecretString=value)
        print(f"{self.name(which)} has a new value")

    def renew_password(self) -> None:
        """Change it in the database, then in the secrets; cut off in between, the same again heals it.

        RDS made one at the instance's birth, and would rotate it every week; tasks read theirs only once.
        """
        password = self.random(40)
        instance = self.rds.describe_db_instances(DBInstanceIdentifier=self.database)["DBInstances"][0]
        managed = {"ManageMasterUserPassword": False} if instance.get("MasterUserSecret") else {}
        self.rds.modify_db_instance(
            DBInstanceIdentifier=self.database, MasterUserPassword=password, ApplyImmediately=True, **managed
        )
        self.rds.get_waiter("db_instance_available").wait(DBInstanceIdentifier=self.database)
        self.write(PASSWORD, password)
        self.tell_the_proxy(password)

    def tell_the_proxy(self, password: str) -> None:
        """RDS Proxy's own copy, with the user that the service connects as."""
        instance = self.rds.describe_db_instances(DBInstanceIdentifier=self.database)["DBInstances"][0]
        self.write(PROXY, json.dumps({"username": instance["MasterUsername"], "password": password}))

    def complete(self) -> None:
        """Give each secret a value that has none."""
        if not self.has_value(KEY):
            self.write(KEY, self.random(64))
        if not self.has_value(PASSWORD):
            self.renew_password()
        elif not self.has_value(PROXY):
            self.tell_the_proxy(str(self.manager.get_secret_value(SecretId=self.name(PASSWORD))["SecretString"]))


def main(arguments: Sequence[str]) -> int:
    """Do what was asked; 0 if every secret has a value now."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", required=True, choices=("staging", "production"))
    parser.add_argument("--renew", choices=(PASSWORD, KEY), help="give this one another value")
    options = parser.parse_args(arguments)
    secrets = Secrets(options.environment)
    try:
        if options.renew == PASSWORD:
            secrets.renew_password()
        elif options.renew == KEY:
            secrets.write(KEY, secrets.random(64))
        secrets.complete()
    except (BotoCoreError, ClientError, WaiterError) as error:
        print(f"FAILED: {error}\nThe secrets are not complete. Run it again, with the same arguments.", file=sys.stderr)
        return 1
    print("Every secret has a value. Tasks read theirs when they start: deploy.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

#!/usr/bin/env python3
"""Give an environment's secrets their values, which Terraform neither knows nor may read.

    passwords.py --environment staging                          (those that have none)
    passwords.py --environment staging --renew db/service       (another password for what serves)
    passwords.py --environment production --hand-over           (the master user's, to RDS: once, where RDS has it not)

For an administrator, after the first `terraform apply`. A secret that has a value keeps it, so that it may be run again
and again. It prints no value. It needs boto3 and nothing of this project, and no way to the database: whoever starts
brings the password there (docs/runbook.md, "The role that serves").
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

MASTER, SERVICE, KEY = "db/password", "db/service", "django/secret-key"
GROUP = "rupaya_app"
RDS_TAKES_S, POLL_S = 600, 2
# The logins that take turns, and the secrets by which RDS Proxy knows them. The second one's may hold the master user,
# from before there were two: the first renewal ends that, and nothing serves as the master user by then.
LOGINS = {"rupaya_app_a": "db/proxy-2", "rupaya_app_b": "db/proxy"}


class Refused(Exception):
    """What was asked for would take the database from running tasks. The text says what to do first."""


class Secrets:
    """The secrets of an environment, and the database that they open."""

    def __init__(self, environment: str) -> None:
        suffix = "" if environment == "production" else f"-{environment}"
        self.environment = environment
        self.folder = self.cluster = f"rupaya{suffix}"
        self.database = f"rupaya-postgres{suffix}"
        self.manager: Any = boto3.client("secretsmanager")
        self.rds: Any = boto3.client("rds")
        self.ecs: Any = boto3.client("ecs")
        self.written: list[str] = []

    def name(self, which: str) -> str:
        """The whole name of a secret."""
        return f"{self.folder}/{which}"

    def has_value(self, which: str) -> bool:
        """Whether it was ever given one; asked without reading it."""
        stages = self.manager.describe_secret(SecretId=self.name(which)).get("VersionIdsToStages", {})
        return any("AWSCURRENT" in names for names in stages.values())

    def read(self, which: str) -> str:
        """The value that tasks are given now."""
        return str(self.manager.get_secret_value(SecretId=self.name(which))["SecretString"])

    def random(self, length: int) -> str:
        """Letters and digits, which need escaping nowhere."""
        found = self.manager.get_random_password(PasswordLength=length, ExcludePunctuation=True)
        return str(found["RandomPassword"])

    def write(self, which: str, value: str) -> None:
        """Make a value the one that tasks are given from now on."""
        self.manager.put_secret_value(SecretId=self.name(which), SecretString=value)
        self.written.append(which)
        print(f"{self.name(which)} has a new value")

    # The role that serves

    def service(self) -> tuple[str, datetime]:
        """The login that tasks are given now, and since when.

        Raises:
            Refused: if somebody has written something else there.
        """
        try:
            now = json.loads(self.read(SERVICE))
            login, since = str(now["username"]), datetime.fromisoformat(now["since"])
            if since.tzinfo is None:
                raise ValueError("its time has no zone")
        except (ValueError, TypeError, KeyError) as error:
            raise Refused(
                f"{self.name(SERVICE)} is not as this script writes it ({type(error).__name__}: {error}), so nobody "
                'knows which tasks have it. Write {"username": …, "password": …, "member_of": "rupaya_app", "since": '
                '"2026-01-31T00:00:00+00:00"} there, with the login that serves and the time of its password.'
            ) from error
        return login, since

    def renew_service(self) -> None:
        """Give what serves another password: the other login's, so that running tasks keep theirs.

        Raises:
            Refused: if a running task is older than the password of now, for it may have the one that is replaced.
        """
        login, since = "rupaya_app_a", datetime.now(UTC).replace(microsecond=0)
        if self.has_value(SERVICE):
            login_now, since_now = self.service()
            self.refuse_older_tasks(since_now)
            login = next(name for name in LOGINS if name != login_now)
            # Later than the one before, whatever the clock of this machine says.
            since = max(since, since_now + timedelta(seconds=1))
        known = {"username": login, "password": self.random(40)}
        # The proxy first: whoever is told who serves finds it known there.
        self.write(LOGINS[login], json.dumps(known))
        self.write(SERVICE, json.dumps(known | {"member_of": GROUP, "since": since.isoformat(timespec="seconds")}))

    def refuse_older_tasks(self, since: datetime) -> None:
        """Refuse what would take the database from tasks that were started before a password was made."""
        # One without the time is being placed, and reads its secrets later than now.
        created = {task["taskArn"].rpartition("/")[2]: task.get("createdAt") for task in self.running_tasks()}
        older = [name for name, at in created.items() if at is not None and at <= since]
        if older:
            raise Refused(
                f"{len(older)} tasks, such as {older[0]}, were started before the password of {since.isoformat()}: "
                "they may have the one that would be replaced. Deploy first (deploy/ecs.py deploy, or "
                "`aws ecs update-service --force-new-deployment`), then run this again."
            )

    def running_tasks(self) -> Iterator[dict[str, Any]]:
        """Every task of the cluster that runs, of the service and others."""
        pages = self.ecs.get_paginator("list_tasks").paginate(cluster=self.cluster, desiredStatus="RUNNING")
        for page in pages:
            if page["taskArns"]:
                yield from self.ecs.describe_tasks(cluster=self.cluster, tasks=page["taskArns"])["tasks"]

    # The master user

    def hand_over(self) -> None:
        """Let RDS make, keep and change the master user's password, which only `migrate` still uses.

        Until the next deployment tasks start from a definition that names db/password, so that gets RDS' one too. Cut
        off in between, the same again heals it.

        Raises:
            Refused: if a running task may still serve as the master user.
        """
        if not self.has_value(SERVICE):
            raise Refused(
                "Nothing serves but the master user yet. Run this without --hand-over, deploy, and then again."
            )
        self.refuse_older_tasks(self.service()[1])
        if not self.instance().get("MasterUserSecret"):
            self.rds.modify_db_instance(
                DBInstanceIdentifier=self.database,
                ManageMasterUserPassword=True,
                MasterUserSecretKmsKeyId=f"alias/rupaya-{self.environment}",
                ApplyImmediately=True,
            )
        secret = self.manager.get_secret_value(SecretId=self.managed_secret())
        self.write(MASTER, json.loads(secret["SecretString"])["password"])
        print("RDS has the master user's password. Within its week: terraform apply, then deploy.")

    def managed_secret(self) -> str:
        """The ARN of RDS' own secret, once the password in it is the database's.

        Raises:
            Refused: if RDS is not through with it within ten minutes.
        """
        deadline = time.monotonic() + RDS_TAKES_S
        while True:
            instance = self.instance()
            secret = instance.get("MasterUserSecret", {})
            if secret.get("SecretStatus") == "active" and instance["DBInstanceStatus"] == "available":
                return str(secret["SecretArn"])
            if time.monotonic() > deadline:
                raise Refused(
                    f"RDS is still at it ({instance['DBInstanceStatus']}). Run this again when it is through."
                )
            time.sleep(POLL_S)

    def instance(self) -> dict[str, Any]:
        """The database as RDS describes it."""
        return dict(self.rds.describe_db_instances(DBInstanceIdentifier=self.database)["DBInstances"][0])

    def what_to_do(self, error: Exception, renew: str | None) -> str:
        """What is left to do after AWS refused or did not answer."""
        if isinstance(error, ClientError) and error.response["Error"]["Code"] == "ResourceNotFoundException":
            return f"Terraform makes the secrets {self.folder}/…: `terraform apply` {self.environment} first."
        if renew in self.written:
            return f"{self.name(renew)} has its new value; only others may lack one. Run it again without --renew."
        return "The secrets are not complete. Run it again, with the same arguments."

    def complete(self) -> None:
        """Give each secret a value that has none."""
        if not self.has_value(KEY):
            self.write(KEY, self.random(64))
        if not self.has_value(SERVICE):
            self.renew_service()
        # A proxy knows what to do with a user that the database does not have, and not with a secret without one.
        for login, which in LOGINS.items():
            if not self.has_value(which):
                self.write(which, json.dumps({"username": login, "password": self.random(40)}))


def main(arguments: Sequence[str]) -> int:
    """Do what was asked; 0 if every secret has a value now."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", required=True, choices=("staging", "production"))
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--renew", choices=(SERVICE, KEY), help="give this one another value")
    what.add_argument("--hand-over", action="store_true", help="let RDS keep the master user's password from now on")
    options = parser.parse_args(arguments)
    secrets = Secrets(options.environment)
    try:
        if options.renew == SERVICE:
            secrets.renew_service()
        elif options.renew == KEY:
            secrets.write(KEY, secrets.random(64))
        elif options.hand_over:
            secrets.hand_over()
        secrets.complete()
    except Refused as refused:
        print(f"REFUSED: {refused}", file=sys.stderr)
        return 1
    except (BotoCoreError, ClientError) as error:
        print(f"FAILED: {error}\n{secrets.what_to_do(error, options.renew)}", file=sys.stderr)
        return 1
    print("Every secret has a value. Tasks read theirs when they start.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

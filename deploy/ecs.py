#!/usr/bin/env python3
"""Bring an image that is in ECR to an ECS service, and believe that it serves only once that is proved.

    ecs.py deploy   --environment staging --image v41-abc1234      (or sha256:…)
    ecs.py rollback --environment production                       (or --image …)
    ecs.py run      --environment staging -- migrate --dry-run     (with --image …: by that release)

The workflows call it, and people may. What it must know of an environment, Terraform has written into the parameter
/rupaya/ENVIRONMENT/deployment. --dry-run reads everything and changes nothing.

It needs boto3, and of this project nothing that needs more than Python. It exits with 0 when what it was to bring
serves, else with 1; with 2 for wrong arguments, and with 130 when somebody interrupted it.
"""

from __future__ import annotations

import argparse
import io
import math
import sys
from collections.abc import Sequence

from botocore.exceptions import BotoCoreError, ClientError
from environment import Environment
from images import Image
from report import DeploymentError, Report
from rollout import Rollout
from served import Served
from tasks import Tasks

# Whose history must name an image before it may be deployed here.
PROVED_BY = {"production": "staging"}


def deploy(environment: Environment, options: argparse.Namespace) -> None:
    """Bring an image to the service; then, if told to, apply what its migrations held back."""
    image = environment.images.named(options.image)
    refuse_unproved(environment, image)
    definition = bring(environment, image, is_rollback=False)
    if options.contract:
        try:
            Tasks(environment).run(definition, ["migrate", "--contract", "--noinput"])
        except DeploymentError as error:
            raise DeploymentError(
                f"{image.version} serves, but its contract migrations were not applied. {error}", error.details
            ) from error


def bring(environment: Environment, image: Image, *, is_rollback: bool) -> str:
    """Roll an image out and write down that it serves; returns what one-off commands of it run by."""
    environment.report.fact("Image", f"{image.version} ({image.digest})")
    environment.record_restore_point()
    left = environment.serving()
    if is_rollback:
        environment.mark_left(left, image)
    Rollout(environment).roll_out(image, at_once=is_rollback)
    environment.mark(image, left if is_rollback else environment.served.now_digest)
    if environment.dry_run:
        environment.report.say(f"would register {environment.facts.migrate_family} with {image.uri}")
        return environment.facts.migrate_family
    # Also what the daily checks run from now on.
    return environment.register(environment.facts.migrate_family, image)


def refuse_unproved(environment: Environment, image: Image) -> None:
    """Let nothing into production that has not served staging, and nothing that staging rolled back from."""
    prover = PROVED_BY.get(environment.name)
    if prover is None:
        return
    proved = Served(environment.ssm, prover)
    if not proved.has(image.digest):
        raise DeploymentError(f"{image.version} ({image.digest}) has never served {prover}. Deploy it there first.")
    if proved.is_rolled_back(image.digest):
        raise DeploymentError(f"{image.version} was rolled back from in {prover}. Deploy it there again to clear it.")


def roll_back(environment: Environment, options: argparse.Namespace) -> None:
    """Bring back the image that served before, or another older one. The schema stays as it is."""
    served = environment.served
    if options.image:
        image = environment.images.named(options.image)
        if not served.has(image.digest):
            raise DeploymentError(f"{image.version} has never served {environment.name}: that is for `deploy`.")
        if served.is_rolled_back(image.digest):
            raise DeploymentError(
                f"{image.version} was rolled back from. Whoever wants it all the same must `deploy` it."
            )
    else:
        before = served.before(environment.serving())
        if before is None:
            raise DeploymentError(
                "Nothing served before what serves now, but what was rolled back from. Name an image."
            )
        image = environment.images.named(before.digest)
    try:
        Tasks(environment).run(environment.once(image), ["migrate", "--dry-run"])
    except DeploymentError as error:
        raise DeploymentError(
            f"{image.version} was not brought back: it cannot serve on this schema, or it could not be asked. {error}",
            error.details,
        ) from error
    bring(environment, image, is_rollback=True)


def run(environment: Environment, options: argparse.Namespace) -> None:
    """Run one `manage.py` command with the release that serves, or with the image that is named."""
    definition = environment.facts.migrate_family
    if options.image:
        definition = environment.once(environment.images.named(options.image))
    Tasks(environment).run(definition, options.arguments)


def seconds(text: str) -> float:
    """A time that can be waited for."""
    value = float(text)
    if not 0 < value < math.inf:
        raise ValueError
    return value


def reference(text: str) -> str:
    """A tag or a digest, which is never empty: a workflow's empty input is not what is meant."""
    if not text.strip():
        raise ValueError
    return text.strip()


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """What was asked for on the command line."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--environment", required=True, choices=("staging", "production"))
    common.add_argument(
        "--dry-run", action="store_true", help="read everything, say what would be done, change nothing"
    )
    common.add_argument("--poll-s", type=seconds, default=10, metavar="SECONDS", help="how often to look (10)")
    common.add_argument(
        "--proof-timeout-s",
        type=seconds,
        default=300,
        metavar="SECONDS",
        help="how long after a completed rollout the load balancer may take to agree (300)",
    )
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True, metavar="deploy|rollback|run")

    verb = verbs.add_parser("deploy", parents=[common], help="bring an image to the service")
    verb.add_argument("--image", type=reference, required=True, help="a tag such as v41-abc1234, or a digest")
    verb.add_argument(
        "--no-contract", dest="contract", action="store_false", help="leave contract migrations for later"
    )
    verb.set_defaults(verb=deploy, title="Deployment to")

    verb = verbs.add_parser("rollback", parents=[common], help="bring back the image that served before")
    verb.add_argument("--image", type=reference, help="another one than that")
    verb.set_defaults(verb=roll_back, title="Rollback of")

    verb = verbs.add_parser("run", parents=[common], help="run a manage.py command as a task of its own")
    verb.add_argument(
        "--image", type=reference, help="a release that does not serve, such as the one whose deployment failed"
    )
    verb.add_argument("arguments", nargs="+", metavar="ARGUMENT")
    verb.set_defaults(verb=run, title="One-off task in")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Do what was asked, and report it."""
    options = parse(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A line of a log that this terminal cannot show ends no deployment.
        sys.stdout.reconfigure(errors="backslashreplace")
    report = Report(f"{options.title} {options.environment}{' (dry run)' if options.dry_run else ''}")
    try:
        environment = Environment(
            options.environment,
            report,
            dry_run=options.dry_run,
            poll_s=options.poll_s,
            proof_timeout_s=options.proof_timeout_s,
        )
        options.verb(environment, options)
    except DeploymentError as error:
        report.say(f"FAILED: {error}")
        report.close(f"**Failed.** {error}", error.details)
        return 1
    except (BotoCoreError, ClientError) as error:
        what = "AWS refused" if isinstance(error, ClientError) else "AWS could not be asked, or did not answer"
        text = f"{what}: {str(error).rstrip('.')}. {report.stands}"
        report.say(f"FAILED: {text}")
        report.close(f"**Failed.** {text}")
        return 1
    except KeyboardInterrupt:
        report.say(f"INTERRUPTED: {report.stands}")
        report.close(f"**Interrupted.** {report.stands}")
        return 130
    report.say("done")
    report.close("Nothing was changed." if options.dry_run else "**Done.**")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

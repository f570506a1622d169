#!/usr/bin/env python3
"""Let ECR itself refuse a second image under a version's tag; only the tags that are meant to move still do.

    tags.py

For an administrator, once, after the account's first `terraform apply`, which knows no exceptions from immutability (it
came to the provider with 6.x) and leaves alone what this does. It may be run again. It needs boto3 and nothing of this
project.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from newer import carry

REPOSITORY = "rupaya-backend"
# What deploy/ecs.py and workflow 08 move. ECR takes five at the most.
MOVE = ("latest", "staging*", "production*")


def make_immutable(ecr: Any) -> None:
    """Tell ECR which tags may move; all others name one image for ever."""
    exceptions = [{"filterType": "WILDCARD", "filter": pattern} for pattern in MOVE]
    with carry(ecr, "PutImageTagMutability", imageTagMutabilityExclusionFilters=exceptions):
        ecr.put_image_tag_mutability(repositoryName=REPOSITORY, imageTagMutability="IMMUTABLE_WITH_EXCLUSION")


def main(arguments: Sequence[str]) -> int:
    """Do it; 0 if ECR has it so now."""
    # It takes no arguments, and what was meant by any must not be done all the same.
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args(
        arguments
    )
    try:
        make_immutable(boto3.client("ecr"))
    except (BotoCoreError, ClientError) as error:
        print(f"FAILED: {error}\nTags can still be moved.", file=sys.stderr)
        return 1
    print(f"Tags of {REPOSITORY} name one image for ever, but for {', '.join(MOVE)}.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

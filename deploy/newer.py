"""What AWS takes and the pinned boto3 has no names for yet: added to a call's body, after boto3 has looked at the rest.

The pin is old because a linter's is, which the tests of all this share; and what is tested is what deploys.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def carry(client: Any, operation: str, **parameters: Any) -> Iterator[None]:
    """Let the calls of an operation within the block carry more than boto3 knows; only for services that speak JSON."""

    def add(params: dict[str, Any], **_others: Any) -> None:
        params["body"] = json.dumps(json.loads(params["body"]) | parameters).encode()

    event = f"before-call.{client.meta.service_model.service_id.hyphenize()}.{operation}"
    client.meta.events.register(event, add)
    try:
        yield
    finally:
        client.meta.events.unregister(event, add)

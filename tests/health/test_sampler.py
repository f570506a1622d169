"""The sampler asks again whatever became of the last sample, and never on a connection that failed."""

from __future__ import annotations

from typing import Any

import psycopg2
import pytest
from django.db import connections

from rupaya.health import sampler as sampling
from rupaya.health.sampler import Sampler


@pytest.mark.django_db
@pytest.mark.parametrize("failure", [OSError("Too many open files"), psycopg2.OperationalError("cut")], ids=str)
def test_a_connection_that_failed_is_not_asked_again(monkeypatch: pytest.MonkeyPatch, failure: Exception) -> None:
    asked: list[Any] = []

    def read(connection: Any) -> Any:
        asked.append(connection)
        if len(asked) == 1:
            raise failure
        return None

    monkeypatch.setattr(sampling, "read_schema_state", read)
    sampler = Sampler()

    assert sampler.ask(None) is None
    after = sampler.ask(None)

    assert asked[0].closed
    assert after is asked[1]
    assert not after.closed
    assert after.info.dbname == connections["default"].settings_dict["NAME"]
    after.close()

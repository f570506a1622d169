"""What may be repeated is tried until no lock is in its way, and its end is told by what the server says."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from rupaya.migrator.errors import DatabaseUnreachable, MigrationFailed, MigratorError, TableLocked, Terminated
from rupaya.migrator.run import again
from rupaya.migrator.run.context import RunContext

RAISE = "DO $$ BEGIN RAISE 'as asked' USING ERRCODE = '{}'; END $$"


@pytest.fixture
def work(context: RunContext) -> Callable[..., Callable[[], str]]:
    """Make work of which each try fails as the server is told to, and the one after the last succeeds."""

    def made(*sqlstates: str) -> Callable[[], str]:
        left = list(sqlstates)

        def do() -> str:
            if left:
                with context.connection.cursor() as cursor:
                    cursor.execute(RAISE.format(left.pop(0)))
            return f"done with {len(left)} left"

        return do

    return made


def tried(context: RunContext, work: Callable[[], str]) -> str:
    return again.tried_in(
        context,
        "The thing",
        work,
        during="the thing was made",
        failed="it failed",
        remedy="mend it",
        state=lambda: "so",
    )


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rupaya.migrator.run.backoff.FIRST_S", 0.001)


def test_it_is_tried_again_as_often_as_is_set(context: RunContext, work: Callable[..., Callable[[], str]]) -> None:
    retries = 4
    context.conf = replace(context.conf, retries=retries)

    assert tried(context, work()) == "done with 0 left"
    assert tried(context, work(*["55P03"] * 3)) == "done with 0 left"
    with pytest.raises(TableLocked, match=f"The thing.*{retries + 1} tries"):
        tried(context, work(*["55P03"] * (retries + 1)))


def test_past_the_deadline_it_is_not_tried_again(context: RunContext, work: Callable[..., Callable[[], str]]) -> None:
    context.deadline = time.monotonic() - 1

    with pytest.raises(TableLocked, match="so"):
        tried(context, work("55P03"))


@pytest.mark.parametrize(
    ("sqlstate", "kind", "said"),
    [
        ("22012", MigrationFailed, "it failed: as asked"),
        ("57P01", DatabaseUnreachable, "the thing was made"),
    ],
)
def test_what_does_not_pass_is_told_as_what_it_is(
    context: RunContext, work: Callable[..., Callable[[], str]], sqlstate: str, kind: type[MigratorError], said: str
) -> None:
    with pytest.raises(kind) as failed:
        tried(context, work(sqlstate))

    assert said in str(failed.value)
    assert "so" in str(failed.value)


def test_an_error_of_python_is_named_and_one_of_ours_goes_on_as_it_is(context: RunContext) -> None:
    def ours() -> str:
        raise TableLocked("Another", Exception("x"), 1, "as it is")

    def pythons() -> str:
        raise LookupError("nowhere")

    with pytest.raises(MigrationFailed, match="it failed: LookupError: nowhere"):
        tried(context, pythons)
    with pytest.raises(TableLocked, match="as it is"):
        tried(context, ours)


def test_what_an_error_of_python_quotes_of_somebodys_data_is_left_out(context: RunContext) -> None:
    data = "".join(["carol", "@", "secret.example"])  # so that it stands in no line of code

    with pytest.raises(MigrationFailed) as failed:
        tried(context, lambda: str(int(data)))

    assert "it failed: ValueError: invalid literal for int() with base 10: '...'" in str(failed.value)


def test_where_it_was_stopped_the_server_says_what_became_of_it(
    context: RunContext, work: Callable[..., Callable[[], str]]
) -> None:
    def stopping() -> str:
        context.stop._requested.set()
        return work("57014")()

    with pytest.raises(Terminated, match="so"):
        tried(context, stopping)

"""Changes by hand, declared as intended on the page that shows them: by whom, why, and until they change again."""

from __future__ import annotations

import re
from html import unescape

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from rupaya.story import state
from tests.faults.migrator import query
from tests.story.conftest import add_attempt, somebody
from tests.story.test_pages import headline, text

PAGE = "/admin/schema/drift/"
ACCEPT = "/admin/schema/drift/accept/"
REASON = "the report team's own index, until June"
INDEX = "index reports on users: in the database, not in the last snapshot"


def drifted(url: str) -> None:
    query(url, "CREATE INDEX reports ON users (name)")
    query(url, "ALTER TABLE devices ADD COLUMN by_hand text")


def keys(client: Client) -> dict[str, str]:
    """By which the form names each difference."""
    state.forget()
    html = client.get(PAGE).content.decode()
    found = re.findall(r'name="chosen" value="(\w+)"[^>]*> (.*?)</label>', html)
    return {unescape(line): key for key, line in found}


def accepted(url: str) -> list[tuple[object, ...]]:
    return query(
        url, "SELECT side, kind, name, line, reason, accepted_by FROM migrator_accepted_drift ORDER BY acceptance_id"
    )


def test_what_is_chosen_is_kept_with_its_reason_and_is_drift_no_more(client: Client, url: str) -> None:
    drifted(url)

    answer = client.post(ACCEPT, {"chosen": [keys(client)[INDEX]], "reason": f" {REASON} "})

    assert answer.headers["Location"] == PAGE
    by = "True@example.com on the admin site"
    assert accepted(url) == [
        ("in the last snapshot", "index", "reports", INDEX, REASON, by),
        ("in the code", "index", "reports", "index reports on users: in the database, not in the code", REASON, by),
    ]
    page = text(client, PAGE)
    assert "1 difference accepted as intended." in page
    assert f"{INDEX} as accepted {REASON} {by} as " in page
    assert "last snapshot, the code" in page
    assert list(keys(client)) == ["column devices.by_hand: in the database, not in the last snapshot"]
    assert "by_hand" in headline(client)
    assert "reports" not in headline(client)


def test_the_sites_log_says_who_accepted_what_and_why(client: Client, url: str) -> None:
    drifted(url)

    client.post(ACCEPT, {"all": "1", "shown": list(keys(client).values()), "reason": REASON})

    entry = LogEntry.objects.get()
    assert entry.user.get_username() == "True@example.com"
    assert "and 1 more" in entry.object_repr
    assert INDEX in entry.change_message
    assert "column devices.by_hand" in entry.change_message
    log = text(client, "/admin/admin/logentry/")
    assert REASON in log
    assert "Accepted as intended" in log
    assert headline(client).startswith("In step")


def test_the_command_knows_what_the_page_accepted_against_the_code_too(client: Client, url: str) -> None:
    from rupaya.migrator.analysis.schemadiff import CODE_SIDE
    from rupaya.migrator.ledger.acceptance import sort
    from rupaya.migrator.ledger.snapshots import last_snapshot
    from rupaya.migrator.schema import catalog
    from rupaya.migrator.schema.diff import differences
    from rupaya.story.reading import bounded

    drifted(url)
    query(url, "CREATE TABLE by_hand_too (LIKE users)")
    client.post(ACCEPT, {"all": "1", "shown": list(keys(client).values()), "reason": REASON})

    with bounded() as connection, connection.cursor() as cursor:
        snapshot = last_snapshot(connection.connection)
        assert snapshot is not None
        # The snapshot was just taken of what the code builds.
        live = catalog.read(cursor, catalog.listed(snapshot.catalog))
        found = sort(cursor, CODE_SIDE, differences(snapshot.catalog, live, portable=True))

    assert found.drift == ()
    assert len(found.accepted) == 2


@pytest.mark.parametrize(
    ("change", "standing"),
    [
        ("DROP INDEX reports; CREATE INDEX reports ON users (name, email)", "changed again"),
        ("DROP INDEX reports", "taken back"),
    ],
)
def test_it_is_said_when_it_is_not_any_more_as_it_was_accepted(
    client: Client, url: str, change: str, standing: str
) -> None:
    query(url, "CREATE INDEX reports ON users (name)")
    client.post(ACCEPT, {"chosen": list(keys(client).values()), "reason": REASON})
    query(url, change)

    page = text(client, PAGE)

    assert f"{INDEX} {standing}" in page
    again = standing == "changed again"
    assert ("Drifted" in page) == again
    assert ("Was something else when it was accepted by True@example.com on the admin site on " in page) == again
    if again:
        client.post(ACCEPT, {"chosen": list(keys(client).values()), "reason": "wider now"})
        page = text(client, PAGE)
        assert f"{INDEX} as accepted wider now" in page
        assert f"{INDEX} accepted again {REASON}" in page


@pytest.mark.parametrize(
    ("chosen", "reason", "says"),
    [
        ([], REASON, "nothing was chosen"),
        (["all"], "  ", "Say why"),
        (["all"], "x" * 1001, "longer than 1000 characters"),
        (["all", "f" * 64], REASON, "not as you saw it any more"),
    ],
)
def test_an_incomplete_or_stale_form_accepts_nothing_and_keeps_what_was_typed(
    client: Client, url: str, chosen: list[str], reason: str, says: str
) -> None:
    drifted(url)
    there = list(keys(client).values())
    sent = [key for one in chosen for key in (there if one == "all" else [one])]

    answer = client.post(ACCEPT, {"chosen": sent, "reason": reason})

    html = answer.content.decode()
    assert answer.status_code == 422
    assert says in html
    assert accepted(url) == []
    assert f'value="{reason.strip()}"' in unescape(html)
    assert html.count(" checked>") == len([key for key in sent if key in there])


def test_what_changed_while_the_form_was_open_is_not_accepted(client: Client, url: str) -> None:
    query(url, "CREATE INDEX reports ON users (name)")
    seen = list(keys(client).values())
    query(url, "DROP INDEX reports; CREATE INDEX reports ON users (name, email)")

    assert client.post(ACCEPT, {"chosen": seen, "reason": REASON}).status_code == 422
    assert accepted(url) == []


def test_only_who_may_sees_the_form_and_nobody_gets_round_it(client: Client, url: str) -> None:
    drifted(url)
    sent = {"chosen": list(keys(client).values()), "reason": REASON}
    viewer, keeper, blind = (
        somebody("view_run"),
        somebody("view_run", "add_accepteddrift"),
        somebody("add_accepteddrift"),
    )

    assert keys(viewer) == {}
    assert "Drifted" in text(viewer, PAGE)
    assert viewer.post(ACCEPT, sent).status_code == 403
    assert blind.post(ACCEPT, sent).status_code == 403
    assert Client().post(ACCEPT, sent).status_code == 302
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = keeper.cookies
    assert strict.post(ACCEPT, sent).status_code == 403
    assert keeper.get(ACCEPT).status_code == 302
    assert accepted(url) == []
    assert keeper.post(ACCEPT, sent).status_code == 302
    assert len(accepted(url)) == 4


def test_a_role_that_may_not_write_the_ledger_is_told_what_to_do(client: Client, url: str) -> None:
    drifted(url)
    sent = {"chosen": list(keys(client).values()), "reason": REASON}
    name = f"reader_{abs(hash(url))}"
    query(url, f"CREATE ROLE {name}; GRANT SELECT, UPDATE, INSERT ON ALL TABLES IN SCHEMA public TO {name}")
    query(url, f"REVOKE INSERT ON migrator_accepted_drift FROM {name}")
    try:
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute(f"SET ROLE {name}")
        page = text(client, PAGE)
        answer = client.post(ACCEPT, sent)
    finally:
        connection.close()
        query(url, f"DROP OWNED BY {name}; DROP ROLE {name}")

    assert "may not write into the migrator's ledger" in page
    assert "Accept the chosen ones" not in page
    assert answer.status_code == 422
    assert accepted(url) == []


def test_nothing_is_offered_where_what_differs_need_not_be_done_by_hand(client: Client, url: str) -> None:
    drifted(url)
    sent = {"chosen": list(keys(client).values()), "reason": REASON}
    add_attempt(url, 1, "accounts", "0001_initial", "succeeded")  # which left no snapshot

    assert keys(client) == {}
    assert client.post(ACCEPT, sent).status_code == 422
    assert accepted(url) == []

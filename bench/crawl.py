"""Every page of an admin site, asked for in this process: how long each takes, and how PostgreSQL runs its queries.

``python -m bench.crawl time|plans USERS [EACH]`` prints JSON; EACH is how many pages of each kind. The database is
DATABASE_URL's, filled by `bench.people`; the site is the one of DJANGO_SETTINGS_MODULE. Pages that a person reaches by
a link are found by following it.
"""

from __future__ import annotations

import html
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import django

BIG = 1000
"""A table with more rows is one that no page may read whole."""
ROUNDS = 5
PATIENCE_S = 1.0
"""A page that takes longer is not asked for again."""

Page = tuple[str, str]
"""What kind of page it is, and its address."""


def models() -> list[tuple[str, Any]]:
    """The registered models of people and money, and where their lists are."""
    from django.contrib import admin
    from django.urls import reverse

    return [
        (reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"), model)
        for model in admin.site._registry
        if model._meta.app_label in ("accounts", "transactions")
    ]


def searches(model: Any, users: int) -> list[str]:
    """What people type: an e-mail address, its beginning, a phone number as they spell it, an id, a name."""
    from bench.people import TRANSACTION, USER, email, key, phone

    somebody = users // 3 | 1
    digits = phone(somebody)[3:]
    name = model._meta.model_name
    own = {
        "transaction": [key(TRANSACTION, users), "Bazaar 7", "fuel"],
        "user": ["asha", "nikhil kap"],
        "category": ["mine 4", "food"],
        # The one with the most transactions.
        "monthlyexpensesummary": [email(0)],
        "monthlyincomesummary": [email(0)],
    }
    if name == "phoneotp":
        return [phone(users // 2 // 20 * 20 + 1)]
    return [email(somebody), f"0{digits[:5]} {digits[5:]}", key(USER, somebody), *own.get(name, [])]


def pages(client: Any, users: int) -> Iterator[Page]:
    """Lists, the pages that each list links to, searches, and rows with what they link to."""
    from urllib.parse import urlencode

    for address, model in models():
        name = model._meta.model_name
        yield f"{name}: list", address
        listed = text(client, address)
        found = listed
        for term in searches(model, users):
            yield f"{name}: search", f"{address}?{urlencode({'q': term})}"
            found = found if rows(found, address) else text(client, f"{address}?{urlencode({'q': term})}")
        for link in links(listed):
            yield f"{name}: {kind(link)}", address + link
            if "__year" in link and "__month" not in link:
                months = [other for other in links(text(client, address + link)) if "__month" in other]
                yield from ((f"{name}: date", address + other) for other in months[:2])
                days = [other for other in links(text(client, address + months[0])) if "__day" in other]
                yield from ((f"{name}: date", address + other) for other in days[:2])
        for row in rows(found, address)[:2]:
            yield f"{name}: row", row
            yield f"{name}: history", row.replace("/change/", "/history/")
        if name == "user":
            from bench.people import USER, key

            # The one with the most rows, and an ordinary one.
            for user in (key(USER, 0), key(USER, users // 3)):
                row = f"{address}{user}/change/"
                yield "user: row", row
                for link in re.findall(r'<li><a href="(/admin/[^"]+\?[^"]+)"', text(client, row)):
                    yield "user: what belongs to it", html.unescape(link)
    yield from story()


def story() -> Iterator[Page]:
    """The home page, and the schema's story where the site tells it."""
    from django.urls import NoReverseMatch, reverse

    yield "site: home page", reverse("admin:index")
    try:
        for page in ("overview", "timeline", "drift", "tables", "diagram"):
            yield "site: the schema's story", reverse(f"schema:{page}")
        yield "site: the schema's story", reverse("schema:table", args=["transactions"])
        yield "site: the schema's story", reverse("schema:run", args=[1])
    except NoReverseMatch:
        return


def text(client: Any, address: str) -> str:
    """The page."""
    return _get(client, address).decode()


def _get(client: Any, address: str) -> bytes:
    from django.db import OperationalError

    try:
        response = client.get(address)
    except OperationalError:
        return b""  # stopped by the statement timeout
    if response.status_code != 200:
        raise SystemExit(f"{address} answers {response.status_code}")
    return b"".join(response)


def links(page: str) -> list[str]:
    """The addresses by which a list leads to itself: filters, orders, dates, other pages."""
    return sorted({html.unescape(link) for link in re.findall(r'href="(\?[^"]+)"', page)} - {"?"})


def rows(page: str, address: str) -> list[str]:
    """The addresses of the rows in a list."""
    return list(dict.fromkeys(re.findall(rf'href="({re.escape(address)}[^"]+/change/)[^"]*"', page)))


def kind(link: str) -> str:
    """What a link in a list does."""
    if re.search(r"\b(after|before|p)=", link):
        return "another page"
    if re.search(r"\bo=", link):
        return "order"
    return "date" if "__year" in link else "filter"


def some(found: Iterator[Page], each: int) -> Iterator[Page]:
    """At most so many of each kind; all if `each` is 0."""
    asked: dict[str, int] = {}
    for what, address in found:
        asked[what] = asked.get(what, 0) + 1
        if not each or asked[what] <= each:
            yield what, address


def timed(client: Any, users: int, each: int) -> dict[str, list[float]]:
    """Milliseconds in the server, by kind of page."""
    found: dict[str, list[float]] = {}
    for what, address in some(pages(client, users), each):
        for _ in range(ROUNDS):
            began = time.perf_counter()
            _get(client, address)
            took = time.perf_counter() - began
            found.setdefault(what, []).append(took * 1000)
            if took > PATIENCE_S:
                break
    return found


def plans(client: Any, users: int, each: int) -> list[dict[str, Any]]:
    """For each page: how many queries, and which big tables they read whole."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relkind = 'r' AND reltuples > %s", [BIG])
        big = {name for (name,) in cursor.fetchall()}
    told = []
    for what, address in some(pages(client, users), each):
        with CaptureQueriesContext(connection) as queries:
            _get(client, address)
        read_whole = []
        for query in queries:
            sql = query["sql"]
            if not sql.startswith("SELECT"):
                continue
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN (FORMAT JSON) {sql.replace('%', '%%')}", [])
                plan = cursor.fetchone()[0]
            plan = json.loads(plan) if isinstance(plan, str) else plan
            read_whole += [f"{table}: {sql}" for table in _read_whole(plan[0]["Plan"]) if table in big]
        told.append({
            "what": what, "address": address, "queries": len(queries), "read_whole": read_whole,
        })  # fmt: skip
    return told


def _read_whole(node: dict[str, Any]) -> Iterator[str]:
    if node["Node Type"] == "Seq Scan":
        yield node["Relation Name"]
    for child in node.get("Plans", ()):
        yield from _read_whole(child)


def main(what: str, users: int, each: int) -> None:
    """Sign in as a superuser and look at everything."""
    django.setup()
    from django.conf import settings
    from django.contrib.auth import get_user_model
    from django.test import Client

    import_module(settings.ROOT_URLCONF)
    settings.ALLOWED_HOSTS = ["testserver"]
    settings.ADMIN_REQUIRE_OTP = False
    client = Client()
    manager: Any = get_user_model()._default_manager
    staff, _ = manager.get_or_create(email="crawler@example.com", defaults={"is_staff": True, "is_superuser": True})
    client.force_login(staff, backend="accounts.backends.BcryptBackend")
    if what == "plans":
        # Small data, seen as if it were big: what would be estimated there is estimated here.
        from rupaya.inspection import counting

        counting.EXACT_UP_TO = 20
    if what == "time" and settings.SETTINGS_MODULE == "rupaya.settings":  # as a worker does when it starts
        from rupaya.story.state import read_ahead

        read_ahead()
    json.dump(plans(client, users, each) if what == "plans" else timed(client, users, each), sys.stdout)


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rupaya.settings")
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)

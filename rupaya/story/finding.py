"""What the site's search finds of the schema: tables, columns, migrations, runs, releases, the migrator's settings."""

from __future__ import annotations

from collections.abc import Iterator

from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper
from django.http import HttpRequest
from django.urls import reverse
from django.utils.http import urlencode

from rupaya.inspection.finding import MOST_OF_A_KIND, Hit, Kind, register
from rupaya.migrator.options import NAMES, OPTIONS
from rupaya.story import reading
from rupaya.story.live import HERE, NAME, OURS

PERMISSION = "story.view_run"

# A part of a name, in any case; what LIKE would read as a pattern is taken as it stands.
_LIKE = "strpos(lower({0}), %(term)s) > 0"
_TABLES = f"""
    SELECT {NAME}, coalesce(obj_description(c.oid, 'pg_class'), '') FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {OURS} AND {_LIKE.format(NAME)}
    ORDER BY length(c.relname), 1 LIMIT {MOST_OF_A_KIND}
"""  # noqa: S608 - constants
_COLUMNS = f"""
    SELECT {NAME}, a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a
    JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE {OURS} AND a.attnum > 0 AND NOT a.attisdropped AND {_LIKE.format("a.attname")}
    ORDER BY {HERE} DESC, length(a.attname), 1, 2 LIMIT {MOST_OF_A_KIND}
"""  # noqa: S608 - constants
_MIGRATIONS = f"""
    SELECT DISTINCT ON (app, name) app, name, run_id, attempt_id, outcome FROM migrator_attempts
    WHERE {_LIKE.format("app || '.' || name")} ORDER BY app, name, attempt_id DESC LIMIT {MOST_OF_A_KIND}
"""  # noqa: S608 - constants
_RUNS = """
    SELECT run_id, command, release, outcome, started_at FROM migrator_runs
    WHERE run_id = %(number)s OR (%(term)s <> '' AND (strpos(lower(task), %(term)s) > 0 OR git_sha = %(term)s))
    ORDER BY run_id DESC LIMIT 6
"""
_RELEASES = f"""
    SELECT release, max(started_at) FROM migrator_runs WHERE {_LIKE.format("release")}
    GROUP BY release ORDER BY 2 DESC LIMIT {MOST_OF_A_KIND}
"""  # noqa: S608 - constants


@register
def schema(request: HttpRequest, term: str) -> Iterator[Kind]:
    """By kind; nothing where the story cannot be read just now."""
    if not request.user.has_perm(PERMISSION):
        return
    try:
        with reading.bounded() as connection:
            yield from _of(connection, term.lower())
    except reading.ERRORS:
        yield Kind("Schema", (), note="The schema could not be searched just now.")
    wanted = term.upper().replace(" ", "_")
    yield Kind(
        "Settings of the migrator",
        tuple(
            Hit(name, reverse("schema:overview"), str(getattr(settings, name, option.default)))
            for name, option in zip(NAMES, OPTIONS.values(), strict=True)
            if wanted in name
        )[:MOST_OF_A_KIND],
    )


def _of(connection: BaseDatabaseWrapper, term: str) -> Iterator[Kind]:
    known = reading.tables(connection)

    def page(name: str) -> str:
        return reverse("schema:table", args=[name])

    yield Kind(
        "Tables", tuple(Hit(name, page(name), about) for name, about in reading.rows(connection, _TABLES, term=term))
    )
    columns = reading.rows(connection, _COLUMNS, term=term)
    yield Kind(
        "Columns",
        tuple(Hit(f"{table}.{column}", f"{page(table)}#column-{column}", type_) for table, column, type_ in columns),
    )
    if not known.ledger:
        return
    migrations = reading.rows(connection, _MIGRATIONS, term=term)
    yield Kind(
        "Migrations",
        tuple(
            Hit(f"{app}.{name}", f"{reverse('schema:run', args=[run])}#attempt-{attempt}", f"{outcome} in run {run}")
            for app, name, run, attempt, outcome in migrations
        ),
    )
    number = term.removeprefix("run ").strip()
    is_number = number.isdecimal() and len(number) < 18
    runs = reading.rows(connection, _RUNS, term="" if is_number else term, number=int(number) if is_number else -1)
    yield Kind(
        "Runs",
        tuple(
            Hit(
                f"Run {run}", reverse("schema:run", args=[run]), f"{command}, {release}, {outcome}, {at:%Y-%m-%d %H:%M}"
            )
            for run, command, release, outcome, at in runs
        ),
    )
    lists = reverse("admin:story_run_changelist")
    yield Kind(
        "Releases",
        tuple(
            Hit(release, f"{lists}?{urlencode({'release': release})}", f"last run {at:%Y-%m-%d %H:%M}")
            for release, at in reading.rows(connection, _RELEASES, term=term)
        ),
    )

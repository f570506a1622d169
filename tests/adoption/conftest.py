"""The original's database at three sizes, and the command as a process."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests.adoption.original import DECISIONS, IRREGULAR, build
from tests.conftest import new_database, with_server
from tests.faults.migrator import migrate


@pytest.fixture
def empty_url(database_url: str) -> str:
    """The original's database without a row of ours."""
    build(database_url)
    return database_url


@pytest.fixture(scope="session")
def _irregular(server_url: str) -> Iterator[str]:
    with new_database(server_url) as url:
        build(url, IRREGULAR)
        yield urlsplit(url).path.strip("/")


@pytest.fixture
def irregular_url(server_url: str, _irregular: str) -> Iterator[str]:
    """The original's database with every irregularity that real rows have."""
    with new_database(server_url, template=_irregular) as url:
        yield url


@pytest.fixture(scope="session")
def _adopted(server_url: str, _irregular: str) -> Iterator[str]:
    with new_database(server_url, template=_irregular) as url:
        run = migrate(url, "adopt")
        assert run.process.returncode == 0, run.output
        yield urlsplit(url).path.strip("/")


@pytest.fixture
def adopted_url(server_url: str, _adopted: str) -> Iterator[str]:
    """As `irregular_url`, adopted and not finished."""
    with new_database(server_url, template=_adopted) as url:
        yield url


@pytest.fixture(scope="session")
def finished_url(server_url: str, _adopted: str) -> Iterator[str]:
    """As `adopted_url`, finished; for all tests that only look."""
    with new_database(server_url, template=_adopted) as url:
        run = migrate(url, "adopt", "--finish", *DECISIONS)
        assert run.process.returncode == 0, run.output
        yield url


@pytest.fixture
def finished_copy_url(server_url: str, finished_url: str) -> Iterator[str]:
    """As `finished_url`, for one test alone."""
    with new_database(server_url, template=urlsplit(finished_url).path.strip("/")) as url:
        yield url


@pytest.fixture
def owner_url(server_url: str, irregular_url: str) -> Iterator[str]:
    """As `irregular_url`, as a role that owns the tables and is nothing else: no superuser, no CREATEDB."""
    role = f"original_{uuid.uuid4().hex[:8]}"
    name = urlsplit(irregular_url).path.strip("/")
    with_server(server_url, f"CREATE ROLE {role} LOGIN")
    with_server(server_url, f'GRANT CREATE, CONNECT ON DATABASE "{name}" TO {role}')
    with_server(irregular_url, f"ALTER SCHEMA public OWNER TO {role}")
    with_server(
        irregular_url,
        f"DO $$ DECLARE t text; BEGIN FOR t IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' "
        f"LOOP EXECUTE format('ALTER TABLE %I OWNER TO {role}', t); END LOOP; END $$",
    )
    parts = urlsplit(irregular_url)
    yield urlunsplit(parts._replace(netloc=f"{role}@{parts.netloc.rpartition('@')[2]}"))
    with_server(server_url, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'")
    with_server(irregular_url, f"REASSIGN OWNED BY {role} TO CURRENT_USER")
    with_server(irregular_url, f"DROP OWNED BY {role} CASCADE")
    with_server(server_url, f"DROP ROLE {role}")

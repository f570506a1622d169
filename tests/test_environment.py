"""The environment: defaults, both ways to name the database, TLS, and what production refuses."""

from __future__ import annotations

import psycopg2.extensions
import pytest

from rupaya.environment import DEVELOPMENT_SECRET_KEY, Database, Environment, EnvironmentRefused

GOOD_SECRET = "k3Jx-9vQ_pL2mZ8rT5wY1uB7nC4hD6gF0sA_eXoViMtRqWzKbN"
PRODUCTION = {
    "RUPAYA_ENV": "production",
    "SECRET_KEY": GOOD_SECRET,
    "ALLOWED_HOSTS": "api.example.com",
    "DB_HOST": "db.example.com",
}


def database(**variables: str) -> Database:
    return Environment(variables).database


def problems(**variables: str) -> str:
    with pytest.raises(EnvironmentRefused) as refused:
        Environment(variables)
    return str(refused.value)


def test_nothing_set_means_development_on_the_embedded_database() -> None:
    env = Environment({})

    assert (env.name, env.debug, env.port, env.log_format) == ("development", True, 8000, "text")
    assert env.uses_local_database
    assert env.database.host.startswith("/")


def test_the_originals_variables_name_the_database() -> None:
    found = database(DB_HOST="db.example.com", DB_PORT="6000", DB_NAME="money", DB_USER="me", DB_PASSWORD="pw")

    assert (found.host, found.port, found.name, found.user, found.password) == (
        "db.example.com", "6000", "money", "me", "pw",
    )  # fmt: skip


@pytest.mark.parametrize("password", ["p@ss:w/rd#1?&=%", "ünïcödé", "'\"\\ $`;", "a@b@c", "//", "%zz"])
def test_a_password_may_hold_any_character(password: str) -> None:
    by_url = database(DATABASE_URL=f"postgresql://me:{password}@db.example.com:5432/money?sslmode=disable")
    by_variable = database(DB_HOST="db.example.com", DB_USER="me", DB_PASSWORD=password)

    assert by_url.password == password
    assert (by_url.host, by_url.user, by_url.name) == ("db.example.com", "me", "money")
    assert by_variable.password == password
    # libpq reads the same from what is handed to it.
    dsn = psycopg2.extensions.make_dsn(**by_variable.connect_kwargs())
    assert psycopg2.extensions.parse_dsn(dsn)["password"] == password


def test_a_percent_encoded_password_is_decoded() -> None:
    assert database(DATABASE_URL="postgres://me:p%40ss%2F@h/money").password == "p@ss/"


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("postgresql://me@/money?host=/run/postgresql", "/run/postgresql", "5432"),
        ("postgresql://me@[2001:db8::1]:6000/money", "2001:db8::1", "6000"),
        ("postgresql://me@one:1,two:2/money?target_session_attrs=read-write", "one,two", "1,2"),
        ("postgresql://me@%2Frun%2Fpostgresql/money", "/run/postgresql", "5432"),
    ],
)
def test_a_url_may_name_a_socket_an_ipv6_address_or_several_hosts(url: str, host: str, port: str) -> None:
    found = database(DATABASE_URL=url)

    assert (found.host, found.port, found.name) == (host, port, "money")


@pytest.mark.parametrize(
    ("variables", "sslmode"),
    [
        ({"DB_HOST": "localhost"}, "prefer"),
        ({"DB_HOST": "127.0.0.1"}, "prefer"),
        ({"DB_HOST": "/run/postgresql"}, "prefer"),
        ({"DB_HOST": "db.example.com"}, "require"),
        ({"DB_HOST": "db.example.com", "DB_SSL": "false"}, "disable"),
        ({"DB_HOST": "localhost", "DB_SSL": "true"}, "require"),
        ({"DB_HOST": "db.example.com", "DB_SSL_ROOT_CERT": __file__}, "verify-full"),
        ({"DATABASE_URL": "postgresql://me@db.example.com/money"}, "require"),
        ({"DATABASE_URL": "postgresql://me@db.example.com/money?sslmode=verify-ca"}, "verify-ca"),
        ({"DATABASE_URL": "postgresql://me@db.example.com/money?sslmode=disable", "DB_SSL": "true"}, "disable"),
        (PRODUCTION | {"DB_HOST": "127.0.0.1"}, "require"),
    ],
)
def test_tls_is_on_unless_the_database_is_local_or_somebody_said_no(variables: dict[str, str], sslmode: str) -> None:
    assert Environment(variables).database.options["sslmode"] == sslmode


def test_a_root_certificate_is_handed_to_libpq() -> None:
    assert database(DB_HOST="db.example.com", DB_SSL_ROOT_CERT=__file__).options["sslrootcert"] == __file__


def test_production_starts_with_everything_it_needs() -> None:
    env = Environment(PRODUCTION)

    assert (env.is_production, env.debug, env.log_format) == (True, False, "json")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"SECRET_KEY": ""}, "SECRET_KEY is not set"),
        ({"SECRET_KEY": DEVELOPMENT_SECRET_KEY}, "SECRET_KEY is a default"),
        ({"SECRET_KEY": "django-insecure-" + GOOD_SECRET}, "SECRET_KEY is a default"),
        ({"SECRET_KEY": "short"}, "SECRET_KEY is a default or too weak"),
        ({"SECRET_KEY": "a" * 60}, "SECRET_KEY is a default or too weak"),
        ({"DEBUG": "true"}, "DEBUG is true"),
        ({"ALLOWED_HOSTS": "*"}, "ALLOWED_HOSTS holds the wildcard"),
        ({"ALLOWED_HOSTS": ""}, "ALLOWED_HOSTS is not set"),
        ({"DB_HOST": ""}, "Neither DATABASE_URL nor DB_HOST"),
    ],
)
def test_production_refuses_and_names_the_variable(change: dict[str, str], named: str) -> None:
    text = problems(**(PRODUCTION | change))

    assert named in text
    assert "nothing was started or changed" in text


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"RUPAYA_ENV": "prod"}, "RUPAYA_ENV='prod' is not one of development, test, production"),
        ({"PORT": "http"}, "PORT='http' is not a whole number from 1 to 65535"),
        ({"PORT": "0"}, "PORT"),
        ({"WEB_CONCURRENCY": "-1"}, "WEB_CONCURRENCY"),
        ({"DEBUG": "maybe"}, "DEBUG='maybe' is neither true nor false"),
        ({"LOG_FORMAT": "xml"}, "LOG_FORMAT"),
        ({"DB_HOST": "h", "DB_PORT": "x"}, "DB_PORT"),
        ({"DB_HOST": "h", "DATABASE_URL": "postgresql://h/d"}, "Both DATABASE_URL and DB_HOST"),
        ({"DB_HOST": "h", "DB_SSL_ROOT_CERT": "/nowhere.pem"}, "DB_SSL_ROOT_CERT"),
        ({"DATABASE_URL": "mysql://h/d"}, "DATABASE_URL does not begin with postgresql://"),
        ({"DATABASE_URL": "postgresql://h:port/d"}, "DATABASE_URL: the port"),
        ({"DATABASE_URL": "postgresql://h:²/d"}, "DATABASE_URL: the port"),
        ({"DATABASE_URL": "postgresql://h/d?port=x"}, "DATABASE_URL: the port"),
        ({"DATABASE_URL": "postgresql://h/d%00"}, "DATABASE_URL has a NUL"),
        ({"DATABASE_URL": "postgresql://h/d?sslrootcert=%00"}, "DATABASE_URL has a NUL"),
        ({"DATABASE_URL": "postgresql://h"}, "DATABASE_URL names no database"),
        ({"DATABASE_URL": "postgresql://h/d?sslmod=require"}, "'sslmod' is not a connection parameter"),
        ({"DATABASE_URL": "postgresql://h/d?sslmode=yes"}, "sslmode is not one of"),
        ({"CSRF_TRUSTED_ORIGINS": "example.com"}, "Write https://example.com"),
        ({"RELEASE": "v\udcff"}, "RELEASE is not UTF-8"),
        ({"DB_HOST": "h", "DB_PASSWORD": "\udcff"}, "DB_PASSWORD is not UTF-8"),
    ],
)
def test_nonsense_is_refused_by_name(variables: dict[str, str], named: str) -> None:
    assert named in problems(**variables)


def test_every_problem_is_told_at_once() -> None:
    text = problems(RUPAYA_ENV="production", DEBUG="true")

    for variable in ("DEBUG", "SECRET_KEY", "ALLOWED_HOSTS", "DATABASE_URL"):
        assert variable in text


@pytest.mark.parametrize("variable", ["SECRET_KEY", "DB_PASSWORD"])
def test_no_message_tells_a_secret(variable: str) -> None:
    assert "hunter2" not in problems(**(PRODUCTION | {"PORT": "x", variable: "hunter2"}))


def test_no_message_tells_the_password_in_a_url() -> None:
    url = "postgresql://me:hunter2@db.example.com:port/?sslmode=hunter2"

    assert "hunter2" not in problems(DATABASE_URL=url)
    assert "hunter2" not in Database(
        host="h", port="1", name="n", user="u", password="hunter2", options={}
    ).address  # fmt: skip


def test_an_empty_setting_of_the_migrator_is_as_good_as_none() -> None:
    """A task definition that leaves it empty must not turn production's caution off."""
    assert Environment(PRODUCTION | {"MIGRATE_PHASE": " "}).migrate["MIGRATE_PHASE"] == "expand"


def test_in_development_nobody_else_can_reach_the_server() -> None:
    assert Environment({}).bind_address == "127.0.0.1"
    assert Environment({"BIND_ADDRESS": "::1"}).bind_address == "::1"
    assert Environment(PRODUCTION).bind_address == "0.0.0.0"  # noqa: S104 - behind a load balancer


CREDENTIALS = '{"username": "app_a", "password": "a\\"b", "member_of": "app", "since": "2026-01-01T00:00:00+00:00"}'


def test_user_and_password_may_come_as_one() -> None:
    env = Environment({"DB_HOST": "h", "DB_USER": "somebody", "DB_PASSWORD": "else", "DB_CREDENTIALS": CREDENTIALS})

    assert (env.database.user, env.database.password) == ("app_a", 'a"b')
    assert env.credentials is not None
    assert env.credentials.are_to_be_made


@pytest.mark.parametrize(
    "text",
    [
        "no-json-secret",
        '"secret"',
        '{"username": "a"}',
        '{"username": "a", "password": 7}',
        '{"username": "a", "password": "secret", "member_of": "app"}',
        '{"username": "a", "password": "secret", "member_of": "app", "since": "2026-01-01"}',
        '{"username": "a", "password": "secret", "member_of": "app", "since": "2026-01-01T00:00:00+02:00"}',
        '{"username": "a", "password": "secret", "member_of": "a", "since": "2026-01-01T00:00:00+00:00"}',
    ],
)
def test_credentials_that_say_nothing_are_refused_and_not_quoted(text: str) -> None:
    said = problems(DB_HOST="h", DB_CREDENTIALS=text)

    assert "DB_CREDENTIALS" in said
    assert "secret" not in said


def test_credentials_beside_a_url_are_refused() -> None:
    assert "DB_CREDENTIALS goes with DB_HOST" in problems(DATABASE_URL="postgresql://a@h/n", DB_CREDENTIALS=CREDENTIALS)

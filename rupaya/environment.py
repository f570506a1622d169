"""The only reader of the process environment: what this process was told, checked before anything starts.

No Django and no slow imports here: settings, gunicorn and the early exit of `migrate` all read it first. `pathlib`,
`typing` and `urllib` alone would be a tenth of what that early exit costs; they are imported where they are needed.
"""

from __future__ import annotations

import os
import sys

from rupaya.migrator import options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import Any

    from rupaya.credentials import Credentials

BASE_DIR = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
EXIT_CODE_ENVIRONMENT_REFUSED = 16

ENVIRONMENTS = ("development", "test", "production")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
LOG_FORMATS = ("text", "json")
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
DEVELOPMENT_SECRET_KEY = "development-only-and-therefore-not-a-secret"  # noqa: S105 - as it says
SECRET_KEY_MIN_LENGTH = 50  # as Django's security.W009
DEFAULT_CONNECT_TIMEOUT_S = 5
REPLICA_CONNECT_TIMEOUT_S = 2
# A peer that is silently gone is noticed after 25 s, though nothing is being sent: what waits for it waits no longer.
# Milliseconds for `tcp_user_timeout`, seconds for the others; a Unix socket needs none of them, and libpq ignores them.
NOTICE_A_CUT = {
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "25000",
}
LOCAL_PROXIES = ("127.0.0.1", "::1")

# What libpq takes in a connection URL and what makes sense for this service.
LIBPQ_PARAMETERS = frozenset(
    (
        "application_name channel_binding client_encoding connect_timeout gssencmode keepalives "
        "keepalives_count keepalives_idle keepalives_interval load_balance_hosts options passfile "
        "require_auth service sslcert sslcertmode sslcrl sslcrldir sslkey sslmode sslnegotiation "
        "sslpassword sslrootcert sslsni ssl_min_protocol_version ssl_max_protocol_version "
        "target_session_attrs tcp_user_timeout"
    ).split(" ")
)
# A Unix socket's path must fit in sockaddr_un (108 bytes on Linux, 104 on macOS), its file name included.
SOCKET_DIR_MAX_BYTES = 80


class EnvironmentRefused(Exception):
    """The environment holds something that this process must not start with.

    Its text is meant for the person who set the variables: a line a problem, never a secret's value.
    """

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(["The environment is refused; nothing was started or changed.", *problems]))

    def say(self) -> None:
        """Print it on standard error, in the format of this process's log."""
        if not logs_json(os.environ):
            print(self, file=sys.stderr)
            return
        from rupaya.jsonline import JsonLines

        JsonLines(os.environ.get("RELEASE") or "unknown", task_name(os.environ)).write(
            " ".join(str(self).splitlines()), level="CRITICAL", logger="environment", problems=self.problems
        )


class Database:
    """One PostgreSQL address, in libpq's terms."""

    def __init__(self, *, host: str, port: str, name: str, user: str, password: str, options: dict[str, str]) -> None:
        self.host = host
        self.port = port
        self.name = name
        self.user = user
        self.password = password
        self.options = options

    @property
    def address(self) -> str:
        """Host, port and database name, for messages: never the user's password."""
        return f"{self.host or 'localhost'}:{self.port or '5432'}/{self.name}"

    def django_settings(self) -> dict[str, object]:
        """The entries of a Django DATABASES setting that say where the database is."""
        return {
            "HOST": self.host,
            "PORT": self.port,
            "NAME": self.name,
            "USER": self.user,
            "PASSWORD": self.password,
            "OPTIONS": dict(self.options),
        }

    def bound(self, connect_timeout_s: int) -> None:
        """Give every wait for the network an end, unless the address says otherwise."""
        self.options = NOTICE_A_CUT | {"connect_timeout": str(connect_timeout_s)} | self.options

    def connect_kwargs(self) -> dict[str, Any]:
        """Keyword arguments for `psycopg2.connect`, the empty ones left out."""
        address = {
            "host": self.host,
            "port": self.port,
            "dbname": self.name,
            "user": self.user,
            "password": self.password,
        }
        return {key: value for key, value in address.items() if value} | self.options


class Environment:
    """Everything the environment says, read once and checked.

    Raises:
        EnvironmentRefused: with every problem found, not only the first.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._problems: list[str] = []

        self.name = self._choice("RUPAYA_ENV", "development", ENVIRONMENTS)
        self.is_production = self.name == "production"
        self.debug = self._boolean("DEBUG", default=self.name == "development")
        self.secret_key = self._text("SECRET_KEY") or ("" if self.is_production else DEVELOPMENT_SECRET_KEY)
        self.allowed_hosts = self._list("ALLOWED_HOSTS") or (
            [] if self.is_production else ["localhost", "127.0.0.1", "[::1]"]
        )
        self.csrf_trusted_origins = self._list("CSRF_TRUSTED_ORIGINS")
        self.port = self._integer("PORT", 8000, 1, 65535)
        # In development nobody but the person at this machine is meant to reach it.
        self.bind_address = self._text("BIND_ADDRESS") or ("0.0.0.0" if self.is_production else "127.0.0.1")  # noqa: S104 - behind a load balancer
        if self.bind_address.startswith("[") and self.bind_address.endswith("]"):  # IPv6, as in an address of the web
            self.bind_address = self.bind_address[1:-1]
        self.web_concurrency = self._integer("WEB_CONCURRENCY", 2, 1, 64)
        self.log_level = self._choice("LOG_LEVEL", "INFO", LOG_LEVELS, normalise=str.upper)
        self.log_format = self._choice("LOG_FORMAT", "json" if self.is_production else "text", LOG_FORMATS)
        self.settings_module = self._text("DJANGO_SETTINGS_MODULE") or "rupaya.settings"
        self.release = self._text("RELEASE") or "unknown"
        self.git_sha = self._text("GIT_SHA") or "unknown"
        self.task = task_name(environ)
        self.trusted_proxies = self._list("TRUSTED_PROXIES") or list(LOCAL_PROXIES)
        self.metrics_token = self._text("METRICS_TOKEN")
        self.admin_require_otp = self._boolean("ADMIN_REQUIRE_OTP", default=self.is_production)

        self.credentials = self._credentials()
        self.uses_local_database = not (self._text("DATABASE_URL") or self._text("DB_HOST"))
        self.database = self._database()
        self.migration_database = self._migration_database()
        self.replica_database = self._replica_database()
        self.migrate = {
            "MIGRATE_PHASE": str(options.OPTIONS["phase"].default),  # by name: the settings, health and story read it
            **(options.production_defaults() if self.is_production else {}),
            # An empty variable is one that is not set, as everywhere.
            **{key: self._text(key) for key in environ if key.startswith("MIGRATE_") and self._text(key)},
        }

        self.heartbeat_file = self.migrate.get("MIGRATE_HEARTBEAT_FILE", "")

        if self.is_production:
            self._refuse_what_production_must_not_have()
        for origin in self.csrf_trusted_origins:
            if "://" not in origin:
                self._problem(f"CSRF_TRUSTED_ORIGINS: {origin!r} has no scheme. Write https://{origin}.")
        if self._text("TRUSTED_PROXIES"):
            self._refuse_what_is_no_address()
        if self._problems:
            raise EnvironmentRefused(list(dict.fromkeys(self._problems)))

    # Reading one variable

    def _text(self, variable: str) -> str:
        return self._encodable(variable).strip()

    def _encodable(self, variable: str) -> str:
        text = self._environ.get(variable, "")
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                self._problem(f"{variable} is not UTF-8. Write it anew.")
                return ""
        return text

    def _problem(self, text: str) -> None:
        self._problems.append(text)

    def _list(self, variable: str) -> list[str]:
        return [item.strip() for item in self._text(variable).split(",") if item.strip()]

    def _boolean(self, variable: str, *, default: bool) -> bool:
        text = self._text(variable).lower()
        if not text:
            return default
        if text in ("1", "true", "yes", "on"):
            return True
        if text in ("0", "false", "no", "off"):
            return False
        self._problem(f"{variable}={text!r} is neither true nor false. Set it to true or false.")
        return default

    def _integer(self, variable: str, default: int, minimum: int, maximum: int) -> int:
        text = self._text(variable)
        if not text:
            return default
        if text.isascii() and text.isdigit() and minimum <= int(text) <= maximum:
            return int(text)
        self._problem(f"{variable}={text!r} is not a whole number from {minimum} to {maximum}.")
        return default

    def _choice(
        self, variable: str, default: str, choices: tuple[str, ...], normalise: Callable[[str], str] = str.lower
    ) -> str:
        text = normalise(self._text(variable))
        if not text:
            return default
        if text in choices:
            return text
        self._problem(f"{variable}={text!r} is not one of {', '.join(choices)}.")
        return default

    # The database

    def _database(self) -> Database:
        url, host = self._text("DATABASE_URL"), self._text("DB_HOST")
        if url and host:
            self._problem(
                "Both DATABASE_URL and DB_HOST are set, and they could name two databases. Unset one of them."
            )
        if url:
            database = self._database_from_url("DATABASE_URL", url)
        elif host:
            database = Database(
                host=host,
                port=str(self._integer("DB_PORT", 5432, 1, 65535)),
                name=self._text("DB_NAME") or "rupaya",
                user=self.credentials.username if self.credentials else self._text("DB_USER") or "rupaya",
                # Not stripped: a password may well begin or end with a space.
                password=self.credentials.password if self.credentials else self._encodable("DB_PASSWORD"),
                options={},
            )
        else:
            if self.is_production:
                self._problem(
                    "Neither DATABASE_URL nor DB_HOST is set. Set one of them to the PostgreSQL that this service uses."
                )
            return local_database()
        self._apply_ssl(database)
        database.bound(DEFAULT_CONNECT_TIMEOUT_S)
        return database

    def _credentials(self) -> Credentials | None:
        """Who serves, where one variable says user and password."""
        text = self._text("DB_CREDENTIALS")
        if not text:
            return None
        if not self._text("DB_HOST"):
            self._problem("DB_CREDENTIALS goes with DB_HOST; DATABASE_URL holds user and password itself. Unset it.")
            return None
        from rupaya import credentials

        try:
            return credentials.read(text)
        except ValueError as error:
            self._problem(f'DB_CREDENTIALS {error}. Write {{"username": "…", "password": "…"}}.')
            return None

    def _migration_database(self) -> Database | None:
        """The address that migrations use instead: direct where the other is a pooler, or the owner's."""
        url = self._text("MIGRATION_DATABASE_URL")
        if not url:
            return None
        database = self._database_from_url("MIGRATION_DATABASE_URL", url)
        self._apply_ssl(database)
        database.bound(DEFAULT_CONNECT_TIMEOUT_S)
        return database

    def _replica_database(self) -> Database | None:
        """A streaming replica, which the admin site reads people's rows from."""
        url = self._text("REPLICA_DATABASE_URL")
        if not url:
            return None
        database = self._database_from_url("REPLICA_DATABASE_URL", url)
        self._apply_ssl(database)
        # The primary has the same rows: nobody should wait long for a replica that is gone.
        database.bound(REPLICA_CONNECT_TIMEOUT_S)
        if database.name and database.name != self.database.name:
            self._problem(
                f"REPLICA_DATABASE_URL names the database {database.name!r}, but the service uses "
                f"{self.database.name!r}, and a replica of it has the same name: give that one."
            )
        return database

    def _database_from_url(self, variable: str, url: str) -> Database:
        """Parse a URL such as ``postgresql://user:password@host:5432/name?sslmode=require``.

        The password may hold any character but a literal ``%`` followed by two hexadecimal digits, which must be
        written percent-encoded, as URLs demand: the user part ends at the *last* ``@``.
        """
        scheme, separator, rest = url.partition("://")
        if not separator or scheme not in ("postgres", "postgresql"):
            self._problem(f"{variable} does not begin with postgresql://. Only PostgreSQL is supported.")
            return Database(host="", port="", name="", user="", password="", options={})
        user_part, _, address = rest.rpartition("@")
        user, _, password = user_part.partition(":")
        location, _, query = address.partition("?")
        hosts, _, name = location.partition("/")
        host_list, port_list = [], []
        for item in hosts.split(","):
            if item.startswith("["):
                item_host, _, item_port = item[1:].partition("]")
                item_port = item_port.removeprefix(":")
            else:
                item_host, _, item_port = item.partition(":")
            host_list.append(_unquote(item_host))
            port_list.append(item_port or "5432")
        options = _query_parameters(query)
        host = options.pop("host", "") or ",".join(host_list)
        port = options.pop("port", "") or ",".join(port_list)
        database = Database(
            host=host,
            port=port,
            name=options.pop("dbname", "") or _unquote(name),
            user=options.pop("user", "") or _unquote(user),
            password=options.pop("password", "") or _unquote(password),
            options=options,
        )
        if not database.name:
            self._problem(f"{variable} names no database. End it with /NAME.")
        if "\0" in _unquote(url):
            self._problem(f"{variable} has a NUL (%00), which nothing in an address can have. Remove it.")
        if not all(item.isascii() and item.isdigit() and 0 < int(item) < 65536 for item in port.split(",")):
            self._problem(f"{variable}: the port is not a whole number from 1 to 65535.")
        for key in sorted(set(options) - LIBPQ_PARAMETERS):
            self._problem(f"{variable}: {key!r} is not a connection parameter of PostgreSQL. Remove it.")
        if options.get("sslmode", "disable") not in SSL_MODES:
            self._problem(f"{variable}: sslmode is not one of {', '.join(SSL_MODES)}.")
        return database

    def _apply_ssl(self, database: Database) -> None:
        root_certificate = self._text("DB_SSL_ROOT_CERT")
        if root_certificate and not os.path.isfile(root_certificate):
            self._problem(f"DB_SSL_ROOT_CERT={root_certificate!r} is not a file that can be read.")
        wanted = self._boolean("DB_SSL", default=self.is_production or not is_local_host(database.host))
        if "sslmode" in database.options:
            return
        if not wanted:
            # A root certificate in the user's home would otherwise turn "prefer" into a surprise.
            database.options["sslmode"] = "disable" if self._text("DB_SSL") else "prefer"
        elif root_certificate:
            database.options |= {"sslmode": "verify-full", "sslrootcert": root_certificate}
        else:
            database.options["sslmode"] = "require"

    def _refuse_what_is_no_address(self) -> None:
        from rupaya.proxies import Proxies

        for address in self.trusted_proxies:
            try:
                Proxies([address])
            except ValueError:
                self._problem(f"TRUSTED_PROXIES: {address!r} is no address or network. Write 10.0.0.0/16 or 10.0.3.17.")

    # Production

    def _refuse_what_production_must_not_have(self) -> None:
        if self.debug:
            self._problem("DEBUG is true in production; it would show settings and data to anyone. Unset it.")
        if not self._text("SECRET_KEY"):
            self._problem(
                "SECRET_KEY is not set. Set it to a long random text: "
                "python -c 'import secrets; print(secrets.token_urlsafe(50))'"
            )
        elif (
            self.secret_key == DEVELOPMENT_SECRET_KEY
            or self.secret_key.startswith("django-insecure-")
            or len(self.secret_key) < SECRET_KEY_MIN_LENGTH
            or len(set(self.secret_key)) < 5
        ):
            self._problem(
                f"SECRET_KEY is a default or too weak. Set {SECRET_KEY_MIN_LENGTH} random characters or more: "
                "python -c 'import secrets; print(secrets.token_urlsafe(50))'"
            )
        if not self.allowed_hosts:
            self._problem("ALLOWED_HOSTS is not set. Set it to the names this service is reached by, comma-separated.")
        if "*" in self.allowed_hosts:
            self._problem("ALLOWED_HOSTS holds the wildcard '*'. Name each host; probes need none.")


def task_name(environ: Mapping[str, str]) -> str:
    """What this process is called in logs and in the ledger: the ECS task's id, or the machine's name.

    ECS names its metadata address after the container: http://169.254.170.2/v4/TASK-NUMBER.
    """
    metadata = environ.get("ECS_CONTAINER_METADATA_URI_V4", "").rstrip("/")
    return metadata.rpartition("/")[2].partition("-")[0] or os.uname().nodename


def logs_json(environ: Mapping[str, str]) -> bool:
    """Whether this process logs JSON, known even where the rest of its environment is refused."""
    chosen = environ.get("LOG_FORMAT", "").strip().lower()
    return chosen == "json" or (not chosen and environ.get("RUPAYA_ENV", "").strip().lower() == "production")


def _unquote(text: str) -> str:
    if "%" not in text:
        return text
    from urllib.parse import unquote

    return unquote(text)


def _query_parameters(query: str) -> dict[str, str]:
    if "%" not in query and "+" not in query:
        pairs = (item.partition("=") for item in query.split("&") if item)
        return {key: value for key, _separator, value in pairs}
    from urllib.parse import parse_qsl

    return dict(parse_qsl(query, keep_blank_values=True))


def is_local_host(host: str) -> bool:
    """Whether every one of the (comma-separated) hosts is this machine or a Unix socket."""
    return all(
        not item or item.startswith(("/", "@", "127.")) or item in ("localhost", "::1") for item in host.split(",")
    )


def local_data_dir() -> Path:
    """Where `make run` keeps its embedded PostgreSQL."""
    from pathlib import Path

    return Path(BASE_DIR, ".data", "postgres")


def local_socket_dir() -> Path:
    """The directory of the embedded PostgreSQL's socket: beside its data, or in /tmp where that path is too long."""
    from pathlib import Path

    beside = Path(BASE_DIR, ".data", "socket")
    if len(os.fsencode(beside)) <= SOCKET_DIR_MAX_BYTES:
        return beside
    import hashlib

    name = f"rupaya-{hashlib.sha256(os.fsencode(beside)).hexdigest()[:16]}"
    return Path("/tmp", name)  # noqa: S108 - made 0700 by its owner


def local_database() -> Database:
    """The embedded PostgreSQL that `make run` starts."""
    return Database(
        host=str(local_socket_dir()),
        port="5432",
        name="rupaya",
        user="rupaya",
        password="",
        options={"connect_timeout": "5"},
    )


def load() -> Environment:
    """Read the environment of this process.

    Raises:
        EnvironmentRefused: if any variable holds what this process must not start with.
    """
    return Environment(os.environ)

#!/usr/bin/env python
"""Django's command-line utility, with two habits of its own: configuration errors are sentences, and so is a
development database that is not running."""

import os
import sys


def main() -> None:
    """Run a management command."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rupaya.settings")
    from rupaya import environment

    try:
        env = environment.load()
        if "RUPAYA_SERVES_NEXT" in os.environ:
            from rupaya.listening import refuse_where_nothing_can_listen

            refuse_where_nothing_can_listen(env)
    except environment.EnvironmentRefused as refused:
        refused.say()
        sys.exit(environment.EXIT_CODE_ENVIRONMENT_REFUSED)
    if env.log_format == "json":
        from rupaya.jsonline import JsonLines

        JsonLines(env.release, env.task).take_uncaught_exceptions()

    if os.environ.get("NO_COLOR"):  # https://no-color.org; Django has a word of its own for it
        os.environ["DJANGO_COLORS"] = "nocolor"

    from rupaya.early_exit import leave, nothing_to_migrate

    if nothing_to_migrate(env, sys.argv[1:]):
        leave()

    from rupaya.migrator.run.garbage import search_seldom, skip_last_search

    search_seldom()
    from django.core.management import execute_from_command_line
    from django.db import OperationalError, ProgrammingError

    try:
        execute_from_command_line(sys.argv)
    except (OperationalError, ProgrammingError) as error:
        if "--traceback" in sys.argv or not (told := what_to_do(error, env.uses_local_database, env.database.address)):
            raise
        text, status = told
        if env.log_format == "json":
            JsonLines(env.release, env.task).write(" ".join(text.split()), level="CRITICAL", logger="manage")
        else:
            print(text, file=sys.stderr)
        sys.exit(status)
    finally:
        skip_last_search()


def what_to_do(error: Exception, is_local: bool, address: str) -> tuple[str, int] | None:
    """What a failure of the database means to any command, and the exit status; None where that is not known."""
    code = getattr(error.__cause__, "pgcode", None)
    if code == "42P01":  # undefined_table
        return f"{error}\nThis database lacks tables of this release. 'manage.py migrate' makes them.", 1
    if code is not None or not hasattr(error.__cause__, "pgcode"):
        return None
    if is_local:
        return (
            f"{error}\nThe development database is not running. Start it with 'make run' in another terminal, "
            "or set DATABASE_URL to a PostgreSQL that you have.",
            1,
        )
    return f"{error}\nThe database {address} cannot be reached. Check its address, and that it runs.", 10


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        # Whoever pressed Ctrl-C knows why it ended; `migrate` says what became of its work itself.
        sys.exit(130)

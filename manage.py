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
    from django.db import OperationalError

    try:
        execute_from_command_line(sys.argv)
    except OperationalError as error:
        if not env.uses_local_database:
            raise
        print(
            f"{error}\nThe development database is not running. Start it with 'make run' in another terminal, "
            "or set DATABASE_URL to a PostgreSQL that you have.",
            file=sys.stderr,
        )
        sys.exit(1)
    finally:
        skip_last_search()


if __name__ == "__main__":
    main()

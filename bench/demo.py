"""``make demo``: a database with made-up people and money in it, and two accounts to look at them with.

Beside `make run`, in another terminal, it fills that one's database; alone it serves it too.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path

from bench import people
from rupaya import environment
from rupaya.localdb import development_server

PROJECT = Path(__file__).parents[1]
PEOPLE = 2_000
ADMINISTRATOR = "administrator@example.com"
INSPECTOR = "inspector@example.com"


def main(server: list[str]) -> int:
    """Fill the database and print the accounts; then become `server`, where one is given. Returns an exit status."""
    env = environment.load()
    if env.is_production:
        print("Made-up people have no place in production; nothing was changed.", file=sys.stderr)
        return environment.EXIT_CODE_ENVIRONMENT_REFUSED
    if not server and env.uses_local_database and development_server().postmaster_pid() is None:
        run = [sys.executable, "-m", "rupaya.localdb", "run", "./entrypoint.sh"]
        os.execv(sys.executable, [*run, sys.executable, "-m", "bench.demo", "gunicorn", "rupaya.wsgi"])
    if not server and manage("migrate", "--noinput").returncode:
        return 1
    try:
        people.load(people.local_url(), PEOPLE)
    except people.PeopleThereError:
        print("There are people in this database already; none were added.")
    accounts = {
        ADMINISTRATOR: ("an administrator, who may edit", ["--group", "operator"]),
        INSPECTOR: (
            "an inspector, who sees everything masked",
            ["--group", "inspector", "--not-superuser"],
        ),
    }
    lines = []
    for email, (who, options) in accounts.items():
        password = secrets.token_urlsafe(9)
        made = manage("administrator", email, "--password-stdin", *options, text=f"{password}\n")
        if made.returncode:
            print(made.stdout + made.stderr, file=sys.stderr)
            return 1
        lines.append(f"  {email}  {password}  {who}")
    print("\nSign in with one of these; running `make demo` again gives them new passwords.")
    print("\n".join(lines))
    print(f"  http://localhost:{env.port}/admin/", flush=True)
    if server:
        os.execvp(server[0], server)
    return 0


def manage(*arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a management command; its output is kept where it is given something to read."""
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=PROJECT,
        input=text,
        capture_output=text is not None,
        text=True,
        check=False,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The original serves while its database is taken over: nobody waits for long, and nobody meets an error.

`ADOPTION_ROWS=1000000 make test ARGS="--no-cov -s tests/adoption/test_traffic.py"` is production's size.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rupaya.localdb import binary
from tests.adoption.original import build, checksums, columns, regular
from tests.adoption.test_finish import assert_nothing_differs
from tests.faults.migrator import migrate, query, wait_for

ROWS = int(os.environ.get("ADOPTION_ROWS", "20000"))
LONGEST_WAIT_S = 1.5  # MIGRATE_LOCK_TIMEOUT_MS, and what the machine needs
USERS = max(1, ROWS // 100)
SCRIPT = f"""
\\set u random(1, {USERS})
\\set amount random(1, 1000)
SELECT * FROM users WHERE email = 'user' || :u || '@example.com';
INSERT INTO transactions (user_id, account_id, amount, currency, transaction_type, description, transaction_date)
    VALUES (md5('u' || :u)::uuid, md5('a' || :u)::uuid, :amount, 'INR', 'expense', 'traffic', current_date);
UPDATE accounts SET current_balance = current_balance - :amount, updated_at = now()
    WHERE account_id = md5('a' || :u)::uuid;
SELECT sum(amount) FROM transactions WHERE user_id = md5('u' || :u)::uuid AND is_deleted = false;
"""


@contextmanager
def traffic(url: str, folder: Path) -> Iterator[list[float]]:
    """pgbench with the original's statements; afterwards the list has how long each of its transactions took."""
    folder.mkdir()
    (folder / "script.sql").write_text(SCRIPT)
    process = subprocess.Popen(
        [binary("pgbench"), "-n", "-f", "script.sql", "-c", "4", "-T", "900", "-R", "100", "-l", "--log-prefix=t", url],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip

    def lines() -> list[list[str]]:
        texts = [path.read_text().rpartition("\n")[0] for path in folder.glob("t.*")]
        return [line.split() for text in texts for line in text.splitlines()]

    took_s: list[float] = []
    try:
        wait_for(lines, "traffic")
        yield took_s
        now = time.time()
        wait_for(lambda: any(int(line[4]) > now for line in lines()), "traffic afterwards")
        assert process.poll() is None, process.communicate()[1]  # pgbench gives up at the first error
        took_s += [(int(line[2]) - int(line[6])) / 1e6 for line in lines() if len(line) == 7]
    finally:
        process.kill()
        process.communicate()


def test_traffic_never_waits_long_while_its_database_is_taken_over(
    database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build(database_url, regular(ROWS))
    its_columns = {"users": columns(database_url)["users"]}
    before = checksums(database_url, its_columns)
    told = []
    for arguments in (("adopt", "--plan"), ("adopt",), ("adopt", "--finish")):
        began = time.monotonic()
        with traffic(database_url, tmp_path / "-".join(arguments)) as took_s:
            run = migrate(database_url, *arguments)
            lasted_s = time.monotonic() - began
        assert run.process.returncode == 0, run.output
        assert max(took_s) < LONGEST_WAIT_S
        told.append(f"{' '.join(arguments)}: {lasted_s:.1f} s, longest wait {max(took_s):.3f} s of {len(took_s)}")

    assert checksums(database_url, its_columns) == before
    (left,) = query(database_url, "SELECT count(*) FROM transactions WHERE description LIKE 'transaction %%'")
    assert left == (ROWS,)
    assert_nothing_differs(database_url)
    with capsys.disabled():
        print(f"\n{ROWS:,} transactions; " + "; ".join(told))

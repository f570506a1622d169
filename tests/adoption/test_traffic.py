"""The original serves while its database is taken over: nobody waits for long, and nobody meets an error.

`make adoption-rehearsal` is this at production's size: 1,000,000 transactions.
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
from tests.adoption.original import build, regular
from tests.faults.migrator import Migrator, query, wait_for
from tests.patience import HANGING_S

ROWS = int(os.environ.get("ADOPTION_ROWS", "20000"))
LONGEST_WAIT_S = 1.5  # MIGRATE_LOCK_TIMEOUT_MS, and what the machine needs
USERS = max(1, ROWS // 100)
SCRIPT = f"""
\\set u random(1, {USERS})
\\set amount random(1, 1000)
SELECT * FROM users WHERE email = 'user' || :u || '@example.com';
BEGIN;
INSERT INTO transactions (user_id, account_id, amount, currency, transaction_type, description, transaction_date)
    VALUES (md5('u' || :u)::uuid, md5('a' || :u)::uuid, :amount, 'INR', 'expense', 'traffic', current_date);
UPDATE accounts SET current_balance = current_balance - :amount, updated_at = now()
    WHERE account_id = md5('a' || :u)::uuid;
COMMIT;
SELECT sum(amount) FROM transactions WHERE user_id = md5('u' || :u)::uuid AND is_deleted = false;
"""


# What needs a decision: every person's number, every fiftieth transaction, some pairs of people and of defaults.
PENDING = f"""
UPDATE users SET phone_number = '98' || lpad(row_number::text, 8, '0') FROM (
    SELECT user_id AS its, row_number() OVER (ORDER BY user_id) FROM users) numbered WHERE its = user_id;
UPDATE transactions SET amount = NULL WHERE substr(description, 13)::integer % 50 = 0;
INSERT INTO users (email, email_verified, created_at, updated_at)
    SELECT pair || i || '@example.com', pair = 'Pair', '2024-01-01', '2024-01-01'
    FROM generate_series(1, {max(1, USERS // 100)}) i, unnest(ARRAY['Pair', 'pair']) pair;
INSERT INTO accounts (user_id, name, account_type, is_default, created_at, updated_at)
    SELECT user_id, 'Second', 'cash', true, '2025-01-01', '2025-01-01' FROM users ORDER BY email LIMIT {USERS // 20};
"""
DECISIONS = (
    "--normalise-phones",
    "--unreadable-phones=clear",
    "--ambiguous-phones=clear",
    "--merge-email-case=into-verified",
    "--several-defaults=oldest",
    "--incomplete-transactions=quarantine",
)

Waits = list[tuple[float, float]]


@contextmanager
def traffic(url: str, folder: Path) -> Iterator[Waits]:
    """pgbench with the original's statements; afterwards the list has when each transaction ended, and its seconds."""
    (folder / "script.sql").write_text(SCRIPT)
    process = subprocess.Popen(
        [binary("pgbench"), "-n", "-f", "script.sql", "-c4", "-T3600", "-R", "100", "-l", "--log-prefix=t", url],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip

    def done() -> Waits:
        texts = [path.read_text().rpartition("\n")[0] for path in folder.glob("t.*")]
        lines = [line.split() for text in texts for line in text.splitlines()]
        return [
            (int(line[4]) + int(line[5]) / 1e6, (int(line[2]) - int(line[6])) / 1e6) for line in lines if len(line) == 7
        ]

    waits: Waits = []
    try:
        wait_for(done, "traffic")
        yield waits
        now = time.time()
        wait_for(lambda: any(ended_at > now for ended_at, _took_s in done()), "traffic afterwards")
        assert process.poll() is None, process.communicate()[1]
        waits += done()
    finally:
        process.kill()
        errors = process.communicate()[1]
    assert not errors, errors  # a client that meets an error leaves, and the others go on


@pytest.mark.slow
def test_traffic_never_waits_long_while_its_database_is_taken_over(
    database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build(database_url, regular(ROWS) + PENDING)
    periods = {}
    with traffic(database_url, tmp_path) as waits:
        for arguments in (("--plan", *DECISIONS), (), ("--finish", *DECISIONS)):
            began = time.time()
            run = Migrator(database_url, "adopt", *arguments)
            run.end(timeout_s=HANGING_S * max(1, ROWS // 100_000))
            assert run.process.returncode == 0, run.output
            periods[" ".join(("adopt", *arguments[:1]))] = began, time.time()

    assert max(took_s for _ended_at, took_s in waits) < LONGEST_WAIT_S
    counted = (
        "SELECT (SELECT count(*) FROM transactions WHERE description LIKE 'transaction %%') + count(*), count(*) "
        "FROM adoption_quarantine WHERE table_name = 'transactions' AND kept = 'moved'"
    )
    assert query(database_url, counted) == [(ROWS, ROWS // 50)]
    merged = "SELECT count(*) FROM adoption_quarantine WHERE table_name = 'users' AND kept = 'moved'"
    assert query(database_url, merged) == [(max(1, USERS // 100),)]
    assert query(database_url, "SELECT count(*) FROM users WHERE phone_number ~ '^[^+]'") == [(0,)]
    told = [f"{ROWS:,} transactions"]
    for command, (began, ended) in periods.items():
        # Who waited for it may have got through only just afterwards.
        its = [took_s for ended_at, took_s in waits if began < ended_at < ended + 1]
        told.append(f"{command}: {ended - began:.1f} s, longest wait {max(its):.3f} s of {len(its)}")
    with capsys.disabled():
        print("\n" + "; ".join(told))

"""``python -m bench [MEASUREMENT…]``: measure, print, and write docs/benchmarks.md."""

from __future__ import annotations

import os
import shutil
import sys
from datetime import UTC, datetime
from types import ModuleType

from bench import (
    estimates,
    first_deploy,
    gate,
    inspection,
    machine,
    noop,
    probes,
    recovery,
    report,
    scale,
    serving,
    simultaneous,
    stall,
)
from bench.contestants import PROJECT, Lineup
from bench.measure import BenchFailed
from bench.server import Server

PAGE = PROJECT / "docs" / "benchmarks.md"
MEASUREMENTS: dict[str, ModuleType] = {
    "noop": noop,
    "first-deploy": first_deploy,
    "scale": scale,
    "serving": serving,
    "probes": probes,
    "simultaneous": simultaneous,
    "stall": stall,
    "recovery": recovery,
    "inspection": inspection,
    "gate": gate,
    "estimates": estimates,
}


def main(arguments: list[str]) -> int:
    """Run the measurements named, or all; BENCH_RUNS lowers the number of runs."""
    chosen = arguments or list(MEASUREMENTS)
    if unknown := sorted(set(chosen) - set(MEASUREMENTS)):
        print(f"No such measurement: {', '.join(unknown)}. There are {', '.join(MEASUREMENTS)}.", file=sys.stderr)
        return 2
    if "probes" in chosen and not shutil.which("wrk"):
        print("wrk, which measures the probes, is not installed: apt install wrk", file=sys.stderr)
        return 2
    most = int(os.environ.get("BENCH_RUNS") or sys.maxsize)
    sections: dict[str, str] = {}
    failed = False
    with Server() as server:
        described = machine.describe(server.version)
        print(described, "", sep="\n")
        lineup = Lineup(server)
        for name, why in lineup.missing.items():
            print(f"{name} does not take part: {why}.\n")
        for name in chosen:
            measurement = MEASUREMENTS[name]
            try:
                section = measurement.run(lineup, server, min(measurement.RUNS, most))
            except BenchFailed as failure:
                print(f"{measurement.TITLE} could not be measured. {failure}\n", file=sys.stderr)
                failed = True
                continue
            sections[section.title] = section.markdown(datetime.now(UTC).date(), lineup.missing)
            print(sections[section.title], flush=True)
            # After each, so that what has been measured is not lost to a later failure.
            report.write_page(PAGE, described, sections, [each.TITLE for each in MEASUREMENTS.values()])
    if sections:
        print(f"Written to {PAGE.relative_to(PROJECT)}.")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

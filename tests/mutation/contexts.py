"""A plugin that tells this process, and each that a test starts, which test that is: coverage notes it as its context.

It also notes how long each test takes, in the file that COVERAGE_DURATIONS names, and null of those that fail.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Generator
from pathlib import Path

import coverage
import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Name the test in the environment, and to this process's own coverage, for as long as it runs."""
    os.environ["COVERAGE_TEST"] = item.nodeid
    if (here := coverage.Coverage.current()) is not None:
        here.switch_context(item.nodeid)
    began = time.monotonic()
    try:
        return (yield)
    finally:
        del os.environ["COVERAGE_TEST"]
        note(item, time.monotonic() - began)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note a failure."""
    report = yield
    if report.failed:
        note(item, None)
    return report


def note(item: pytest.Item, took_s: float | None) -> None:
    """A line of the file."""
    with Path(os.environ["COVERAGE_DURATIONS"]).open("a") as file:
        file.write(json.dumps([item.nodeid, took_s]) + "\n")

"""A signal ends a run in a sentence, wherever in the process it comes."""

from __future__ import annotations

import signal
import sys

import pytest

from rupaya.migrator.errors import Terminated
from rupaya.migrator.session.stop import Stop


class Ending:
    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)


def test_in_a_callback_of_the_interpreter_it_prints_no_traceback_and_ends_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)
    stop = Stop()
    with stop.listening():
        with stop.interrupting():
            ending = Ending()
            del ending
        with pytest.raises(Terminated):
            stop.check()

    assert capsys.readouterr().err == ""
    assert sys.unraisablehook is sys.__unraisablehook__

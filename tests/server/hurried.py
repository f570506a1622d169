"""gunicorn's worker as it is served, but with less patience: a test need not wait for as long as production does."""

from __future__ import annotations

from rupaya import worker
from rupaya.worker import Worker

HEAD_S, REQUEST_S = 1.5, 3.0

__all__ = ["HEAD_S", "REQUEST_S", "HurriedWorker"]


class HurriedWorker(Worker):  # type: ignore[misc]
    """A worker in whose process the limits are these."""

    def init_process(self) -> None:
        """Set the limits after the fork, where nobody else reads them."""
        worker.HEAD_S, worker.REQUEST_S = HEAD_S, REQUEST_S
        super().init_process()

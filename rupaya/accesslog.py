"""gunicorn's logger: a line a request, without query, tokens or the noise of healthy probes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from gunicorn.glogging import Logger

from rupaya.middleware import id_of_request
from rupaya.probepaths import PROBES

PATH_MAX_CHARACTERS = 500
AGENT_MAX_CHARACTERS = 200


class ServerLogger(Logger):  # type: ignore[misc]  # gunicorn is not typed
    """Logs a request by method, path and status; what else is known stands in fields."""

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: timedelta) -> None:
        """Log one answered request; a probe only if its answer is bad news."""
        status = str(resp.status).partition(" ")[0]
        # As it was sent, percent-encoded, as it may hold anything; without the query, as that may hold tokens.
        path = str(environ.get("RAW_URI", "")).partition("?")[0][:PATH_MAX_CHARACTERS]
        if status == "200" and path in PROBES:
            return
        duration_ms = round(request_time / timedelta(milliseconds=1), 1)
        method = environ.get("REQUEST_METHOD", "")
        self.access_log.info(
            "%s %s %s %s ms",
            method,
            path,
            status,
            duration_ms,
            extra={
                "request_id": environ.get("rupaya.request_id")
                or id_of_request(environ.get("HTTP_X_AMZN_TRACE_ID", "")),
                "client": environ.get("rupaya.client_address") or environ.get("REMOTE_ADDR", ""),
                "method": method,
                "path": path,
                "status": int(status) if status.isdigit() else 0,
                "bytes": getattr(resp, "sent", 0) or 0,
                "duration_ms": duration_ms,
                "user_agent": str(environ.get("HTTP_USER_AGENT", ""))[:AGENT_MAX_CHARACTERS],
            },
        )

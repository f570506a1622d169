"""How Django and gunicorn log alike: text for people, or one JSON object a line for machines; UTC either way."""

from __future__ import annotations

import logging
import time
from contextvars import ContextVar
from typing import Any

from rupaya.environment import Environment

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the request that this thread is answering; empty outside of requests."""


class TextFormatter(logging.Formatter):
    """Text for people, in UTC from the first line on."""

    converter = staticmethod(time.gmtime)

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")


def logging_config(env: Environment) -> dict[str, Any]:
    """The `logging.config.dictConfig` dictionary that Django and gunicorn are both given."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "text": {"()": "rupaya.logs.TextFormatter"},
            "json": {"()": "rupaya.logformat.LineFormatter", "release": env.release, "task": env.task},
        },
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "formatter": env.log_format, "stream": "ext://sys.stderr"},
            "nowhere": {"class": "logging.NullHandler"},
        },
        "root": {"handlers": ["stderr"], "level": env.log_level},
        "loggers": {
            "django": {"handlers": [], "level": env.log_level, "propagate": True},
            # What a scanner sends is no error of ours, and needs no traceback: the access log has its 400.
            "django.security.DisallowedHost": {"handlers": ["nowhere"], "propagate": False},
            "django.server": {"handlers": [], "level": env.log_level, "propagate": True},
            "axes": {"handlers": [], "level": "WARNING", "propagate": True},
            "gunicorn.error": {"handlers": [], "level": env.log_level, "propagate": True},
            "gunicorn.access": {"handlers": [], "level": "INFO", "propagate": True},
        },
    }

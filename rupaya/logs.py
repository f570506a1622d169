"""How Django and gunicorn log alike: text for people, or one JSON object a line for machines; UTC either way."""

from __future__ import annotations

from typing import Any

from rupaya.environment import Environment


def logging_config(env: Environment) -> dict[str, Any]:
    """The `logging.config.dictConfig` dictionary that Django and gunicorn are both given."""
    handler = {"class": "logging.StreamHandler", "formatter": env.log_format, "stream": "ext://sys.stderr"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "text": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s", "datefmt": "%Y-%m-%dT%H:%M:%S%z"},
            "json": {
                "()": "pythonjsonlogger.json.JsonFormatter",
                "format": "%(message)s %(asctime)s %(levelname)s %(name)s",
                "datefmt": "%Y-%m-%dT%H:%M:%S%z",
                "rename_fields": {"asctime": "time", "levelname": "level", "name": "logger"},
                "static_fields": {"release": env.release},
            },
        },
        "handlers": {"stderr": handler},
        "root": {"handlers": ["stderr"], "level": env.log_level},
        "loggers": {
            "django": {"handlers": [], "level": env.log_level, "propagate": True},
            "django.server": {"handlers": [], "level": env.log_level, "propagate": True},
            "gunicorn.error": {"handlers": [], "level": env.log_level, "propagate": True},
            "gunicorn.access": {"handlers": [], "level": "INFO", "propagate": True},
        },
    }

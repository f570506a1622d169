"""The engine and the database of the image's tests serve here too."""

from tests.image.conftest import engine, postgres

__all__ = ["engine", "postgres"]

"""`manage.py schemasql`: the schema that this code's migrations build, as SQL for people to read."""

from __future__ import annotations

from django.db.backends.base.base import BaseDatabaseWrapper

from rupaya.migrator.analysis.schemadiff import built_by_code
from rupaya.migrator.management.writing import WritingCommand
from rupaya.migrator.schema.dump import draw

HEADER = (
    "-- The schema that the migrations build, as PostgreSQL reports it. Written by `make schema`; not to be edited.\n\n"
)


class Command(WritingCommand):
    help = (
        "Prints the schema that this code's migrations build in a scratch database: the same text on every server. "
        "The live database is neither read nor changed."
    )

    def text(self, connection: BaseDatabaseWrapper) -> str:
        return HEADER + draw(built_by_code(connection))

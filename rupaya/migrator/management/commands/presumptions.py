"""`manage.py presumptions`: what this code's migrations presume of rows, as the file that is shipped with the code."""

from __future__ import annotations

from django.db.backends.base.base import BaseDatabaseWrapper

from rupaya.migrator.analysis.presuming import as_text, presumed_by_code
from rupaya.migrator.management.writing import WritingCommand


class Command(WritingCommand):
    help = (
        "Carries this code's migrations out in a scratch database and prints what each presumes of the rows that are "
        "there, as JSON: the same text on every server. 'migrate' asks live rows by it, where MIGRATOR_PRESUMPTIONS "
        "names the file. The live database is neither read nor changed."
    )

    def text(self, connection: BaseDatabaseWrapper) -> str:
        return as_text(presumed_by_code(connection))

"""What is on disk? Run directories.

schema        which columns their tables have
reader        reads one as data frames
writer        writes one; csv_format and files say how, journal keeps every finished cell
manifest      what manifest.json may hold
records       what a line of the journal may hold
table_checks  what the tables may hold
weights       how trained weights are stored
validation    which names, numbers, and texts are allowed in all of these
"""

from bench.errors import UserError


class StoreError(UserError):
    """A run directory that cannot be read or written."""

"""What is on disk? Run directories.

schema        the columns of the tables
reader        reads a run directory as data frames
writer        writes a run directory, with csv_format and files; journal keeps every finished cell
manifest      checks manifest.json
records       checks the lines of the journal
table_checks  checks the tables
weights       writes and reads trained weights
validation    the names, numbers, and texts that all of these allow
"""

from bench.errors import UserError


class StoreError(UserError):
    """A run directory that cannot be read or written."""

"""What is on disk? Run directories: their columns, who reads and who writes them, and what may stand in them.

Data frames come out of `reader`, `writer` is the one who writes; both refuse what no run has written (`validation`).
"""

from bench.errors import UserError


class StoreError(UserError):
    """A run directory that cannot be read or written."""

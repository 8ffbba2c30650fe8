"""What does a run directory say? From its rows to claims, findings, and figures, and to the report that a person reads.

    rows -> contrasts, observed -> claims (by the rule in verdicts) -> forest, chapters -> report
    rows -> predictions, findings, recommend -> figures, tables -> report

`reporting` lays a report of one run out, `side_by_side` one of several.
"""

from bench.errors import UserError


class UnknownFigure(UserError):
    """A figure that is not there."""

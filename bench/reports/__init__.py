"""What does a run directory say? From its rows to claims, findings, and figures, and to the report that a person reads.

    rows -> contrasts, observations -> verdicts on claims (by the rule in comparison) -> forest, chapters -> report
    rows -> predictions, findings, recommend -> figures, tables -> report

`build` lays out the report of one run, `side_by_side` that of several.
"""

from bench.errors import UserError


class UnknownFigure(UserError):
    """A figure that is not there."""

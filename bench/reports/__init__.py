"""How are the results of a run shown? From its rows to tables, figures, and the report.

    rows -> contrasts, observations -> verdicts on claims (by the rule in comparison) -> forest, chapters -> report
    rows -> predictions, findings, recommend -> figures, tables -> report

`build` writes the report of a single run, `side_by_side` that of several.
"""

from bench.errors import UserError


class UnknownFigure(UserError):
    """A figure that does not exist, or for which the run has no rows."""

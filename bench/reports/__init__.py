"""What does a run directory say? From its rows to claims, findings, and figures, and to the report that a person reads.

    rows -> contrasts, evidence -> claims (by the rule in verdicts), findings -> figures, tables -> report

`reporting` lays a report of one run out, `side_by_side` one of several.
"""

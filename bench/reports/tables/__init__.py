"""Which tables does a report have? Rows of table cells for the page, for CSV, and for LaTeX."""

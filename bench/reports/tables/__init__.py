"""Which tables does a report have? Rows of cells, for the page, as CSV, and as LaTeX."""

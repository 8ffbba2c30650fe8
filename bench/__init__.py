"""What is run, recorded, judged, and drawn: suites, runner, run directory, statistics, figures, report."""

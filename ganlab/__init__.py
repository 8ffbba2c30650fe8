"""What is trained and measured: losses, theory, outliers, data, networks, tasks, read-outs.

This package knows nothing of suites, files, or plots; `bench` is the harness around it.
"""

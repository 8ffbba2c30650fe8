"""What is trained and measured: losses, theory, outliers, data, networks, tasks, metrics.

This package knows nothing of suites, files, or plots; `bench` is the harness around it.

Importing one of its modules loads numpy, PyTorch, and pydantic at most. Slow imports (scipy, scikit-image,
scikit-learn, pooch) are inside the functions that use them, so a command that does not need them starts at once.
`errors`, `plugins`, `seeds`, and `datasets` load PyTorch only when they need it.
"""

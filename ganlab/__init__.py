"""What is trained and measured: losses, theory, outliers, data, networks, tasks, metrics.

This package knows nothing of suites, files, or plots; `bench` is the harness around it.

Importing a module of it loads numpy, PyTorch, and pydantic at most. What takes longer to import than to use (scipy,
scikit-image, scikit-learn, pooch) is imported in the functions that use it, so that a command that needs none of it
starts at once. `errors`, `plugins`, `seeds`, and `datasets` do not load PyTorch either before they need it.
"""

"""Which cells does a run train? Those of a suite or a part of it, with the additions of the user."""

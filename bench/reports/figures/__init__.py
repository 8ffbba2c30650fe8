"""How do the numbers of a run look? One function per figure; `registry.FIGURES` has them all."""

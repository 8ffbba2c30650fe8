"""How are the numbers of a run drawn? One function per figure; `registry.FIGURES` lists them all."""

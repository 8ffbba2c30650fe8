"""What can be done on the command line? Each verb calls a function of `bench.api` and sets an exit code."""

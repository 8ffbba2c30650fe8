"""What can be asked on the command line? The functions of `bench.api`, with exit codes."""

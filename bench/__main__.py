"""`python -m bench`."""

if __name__ == "__main__":  # a worker process imports this module too, and needs nothing of the command line
    from bench.cli.main import main

    main()

"""Which failures does a run survive? Real runs of suite `smoke`, started from the command line, under faults.

    python -m tools.stress                    everything: 50 kills, then each scenario
    python -m tools.stress --kills 0 --only leak

`watch.py` is a reader that checks all the while whether the files on disk are complete and correct; `kills.py` kills
runners and workers at random; `scenarios.py` takes away disk, permission, time, and memory.
"""

"""What does a run survive? Real runs of the suite `smoke`, killed, starved, and lied to through the command line alone.

    python -m tools.stress                    everything: 50 kills, then each scenario
    python -m tools.stress --kills 0 --only leak

`watch.py` is the reader that finds out, again and again while all this happens, whether what is on disk is whole and
true; `kills.py` kills runners and workers at random; `scenarios.py` takes away disk, permission, time, and memory.
"""

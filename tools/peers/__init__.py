"""How fast is the harness beside the loop a user would otherwise write, and beside what the machine can do?

    workloads   what is trained: networks, data, optimizers, and batch size, the same on every side
    usual       the loops a user would otherwise write
    trainer     one process's part of an arm: its steps, how they are timed, what one of them is
    arms        everything that takes turns: those loops, the harness's step, matrix products, a copy
    stacked     many cells as one, in batched kernels: the other way to fill a GPU, measured beside streams
    workers     the processes that compute, idle while it is another arm's turn
    interleave  rounds of short stretches, and what they say together
    results     the table, CSV, and JSON

`make peers`, or `python -m tools.peers --help`. Every arm computes for a quarter of a second at a time, forwards and
then backwards through the list of arms (ABBA), all processes alive and the resting ones blocked on a socket; the first
arm moves on by one from round to round, so drift hits all arms alike. A stretch in which others keep the machine busy
is tried again, and left out if that did not help: threads that wait for each other, as the usual loop's do, lose
several times as much to a neighbour as separate processes, and the ratio would flatter the harness. On a machine that
is never quiet there is no ratio of speeds, only that of images per processor second. A round gives each arm one rate,
and one ratio to the usual loop; reported are geometric means over rounds, with the Student t interval of the log
ratios.

What is equal on both sides: network builders and sizes, initial weights, training images, optimizer (Adam) and its
hyperparameters, learning rate, batch size, and the loss on a given batch from given weights (a test shows that). What
is not:

- the usual GAN loop takes a loss of probabilities (`BCELoss` behind a sigmoid), computes the gradients of D's weights
  in G's step and throws them away, shows D the generated images a second time though D has not changed, and logs two
  numbers where the harness logs eight;
- the usual loops draw images without replacement and from the global random state; the harness draws with
  replacement, from a generator of (seed, step), so that every device and every loss sees the same numbers;
- the usual loops keep their images as 8-bit arrays in memory. No file is opened or decoded, and an image that has the
  right size is not resampled, so that no arm waits for a disk; a loop that decodes files is slower than these;
- the usual loops run in an environment that says nothing; the harness's processes have the one that `bench run` gives
  its workers (one thread, a heap of huge pages that keeps what is freed);
- neither side evaluates, draws, or saves in these stretches;
- on a GPU the usual loops run with PyTorch's defaults, which let convolutions round to TF32 and pick
  non-deterministic kernels; the harness forbids both, and its `fp32` is IEEE single precision;
- `bf16` arms round where the usual loop does not: `bench/suites/precision.toml` asks whether that costs quality.
"""


class PeersError(Exception):
    """What was asked for cannot be measured; the message is one line."""

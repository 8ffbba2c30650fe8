"""How fast is the harness, compared with the loop a user would otherwise write and with the machine's peak?

    workloads   what is trained: networks, data, optimizers, and batch size, the same on every side
    usual       the loops a user would otherwise write
    trainer     one process's part of an arm: its steps, their timing, and the work of one step
    arms        everything that takes turns: those loops, the harness's step, matrix products, a copy
    stacked     many cells in batched kernels: the alternative to streams for filling a GPU
    workers     the processes that compute; they are idle during the turns of other arms
    interleave  rounds of short stretches, and their summary
    results     the table, CSV, and JSON

`make peers`, or `python -m tools.peers --help`. Every arm computes for a quarter of a second at a time, forwards and
then backwards through the list of arms (ABBA). All processes stay alive; resting ones block on a socket. The first arm
moves on by one from round to round, so drift affects all arms equally. A stretch in which other processes keep the
machine busy is repeated, and excluded if that does not help: threads that wait for each other, as in the usual loop,
lose several times as much to a neighbour as separate processes, so the ratio would favour the harness. On a machine
that is never quiet there is no ratio of speeds, only one of images per processor second. A round gives each arm one
rate and one ratio to the usual loop; the results are geometric means over rounds, with the Student t interval of the
log ratios.

Equal on both sides: network builders and sizes, initial weights, training images, optimizer (Adam) and its
hyperparameters, learning rate, batch size, and the loss on a given batch from given weights (a test checks that).
Different:

- the usual GAN loop takes a loss of probabilities (`BCELoss` behind a sigmoid), computes the gradients of D's weights
  in G's step and discards them, runs D on the generated images a second time although D has not changed, and logs two
  numbers whereas the harness logs eight;
- the usual loops draw images without replacement and from the global random state; the harness draws with
  replacement, from a generator of (seed, step), so that every device and every loss sees the same numbers;
- the usual loops keep their images as 8-bit arrays in memory. No file is opened or decoded, and an image of the right
  size is not resampled, so no arm waits for a disk; a loop that decodes files is slower than these;
- the usual loops run in the default environment; the harness's processes have the environment that `bench run` gives
  its workers (one thread, a heap of huge pages that keeps freed memory);
- neither side evaluates, draws, or saves in these stretches;
- on a GPU the usual loops run with PyTorch's defaults, which let convolutions round to TF32 and pick
  non-deterministic kernels; the harness forbids both, and its `fp32` is IEEE single precision;
- `bf16` arms round more than the usual loop: `bench/suites/precision.toml` measures whether that costs quality.
"""


class PeersError(Exception):
    """The request cannot be measured; the message is one line."""

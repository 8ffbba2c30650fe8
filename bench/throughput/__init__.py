"""Did training get slower? `compare`, `record`, and `calibrate` lead from two source trees to a reliable verdict.

    revisions  which code is compared: trees and revisions of the user's repository
    cells      which training steps are timed
    arm        the driver in its own process: imports one side's `ganlab` and runs its steps
    processes  starts an arm, sends it requests, and checks its replies
    rounds     a round: a fresh pair of processes, and the one number it gives for each cell
    judge      group-sequential t intervals over rounds, and the verdict they allow
    compare    a whole comparison; `record`, for users without a revision to compare with
    calibrate  how often the check errs on this machine
    records    which files are kept on disk
    options    the options of the user
    gpu        clock, throttling, and other processes on the GPU
    words      how a comparison is shown

Two processes with equal code differ for these reasons; the measures against them follow each reason. (On 2 cores under
a load of 4 the standard deviation over rounds of the SR step's log ratio was 4.0 % for wall time on one core, n = 10,
and 1.5 % with all measures, n = 12.)

- other work on the core: both sides are bound to one core. Linux counts the time that a side was ready to run but
  had to queue; it is subtracted from the wall time;
- the physical pages of a process, which decide how it uses the caches: the heap asks for huge pages;
- the layout of the heap: each arm begins with gaps of random sizes, so every round has another layout
  (Curtsinger and Berger, "Stabilizer", ASPLOS 2013; Mytkowicz et al., "Producing wrong data without doing anything
  obviously wrong!", ASPLOS 2009);
- order: the sides take turns in being started, built, and timed first, and cores take turns too;
- garbage collection: it runs between chunks.
"""

from bench.errors import UserError


class Misuse(UserError):
    """The request cannot be carried out."""

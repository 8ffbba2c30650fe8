"""Did training get slower? `compare`, `record`, `calibrate`: from two source trees to a verdict that can be trusted.

    revisions  which code is compared: trees and revisions of the user's repository
    cells      which training steps are timed
    arm        the driver in its own process: imports one side's `ganlab` and runs its steps
    processes  starting an arm, asking it, and checking its answers
    rounds     a round: a fresh pair of processes, and the one number it gives for each cell
    judge      group-sequential t intervals over rounds, and the verdict they allow
    compare    a whole comparison; `record`, for users without a revision to compare with
    calibrate  how often the check errs on this machine
    records    what is kept on disk
    options    what a user can ask for
    gpu        clock, throttling, foreign processes
    words      how a comparison is shown

What makes two processes with equal code differ, and what is done about it. (On 2 cores under a load of 4 the standard
deviation over rounds of the SR step's log ratio was 4.0 % for wall time on one core, n = 10, and 1.5 % with all of
this, n = 12.)

- other work on the core: both sides are bound to one core, and the time that a side was ready to run but had to
  queue, which Linux counts, is subtracted from its wall time;
- which physical pages a process gets, and so how it uses the caches: the heap asks for huge pages;
- how the heap is laid out: each arm begins with gaps of random sizes, so that no layout is shared by all rounds
  (Curtsinger and Berger, "Stabilizer", ASPLOS 2013; Mytkowicz et al., "Producing wrong data without doing anything
  obviously wrong!", ASPLOS 2009);
- order: the sides take turns in being started, built, and timed first, and cores take turns too;
- garbage collection: it runs between chunks.
"""

from bench.errors import UserError


class Misuse(UserError):
    """The request cannot be carried out."""

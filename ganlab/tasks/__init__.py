"""Which tasks are there? Each is one file with its training step spelled out, and one line here.

A task is built as `Task(experiment, device)` and offers

    logged, columns         names of what a step returns, and of its read-outs (columns of cells.csv)
    extra_state             names of what training changes beside networks and optimizers (checkpoints keep it)
    step(index, mark)       one training step -> tensor of the `logged` values, left on the device
    set_learning_rate(lr)   for the next step
    snapshot(last)          what the next two look at, as tensors on the device by name; quick, while training waits
    evaluate(step, recent, seen)
                            a point on each curve, from a snapshot on the host; `recent` holds the means of the `logged`
                            values since the last point
    conclude(seen)          -> Readouts: the row, a row for each test image, a picture
"""

from ganlab.tasks.depth import Depth
from ganlab.tasks.experiment import Experiment, Readouts, Record
from ganlab.tasks.gan import Gan
from ganlab.tasks.interpolation import Interpolation
from ganlab.tasks.location import Location
from ganlab.tasks.restoration import Restoration
from ganlab.tasks.super_resolution import SuperResolution

TASKS = {task.name: task for task in (SuperResolution, Depth, Interpolation, Restoration, Gan, Location)}

__all__ = [
    "TASKS",
    "Depth",
    "Experiment",
    "Gan",
    "Interpolation",
    "Location",
    "Readouts",
    "Record",
    "Restoration",
    "SuperResolution",
]

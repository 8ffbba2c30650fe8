"""Which tasks are there? Each is one file that shows its training step, and one line in `TASKS`.

A task is built as `Task(experiment, device)` and has

    logged, columns         names of the values that a step returns, and of its results (columns of cells.csv)
    extra_state             names of attributes that training changes besides networks and optimizers, for checkpoints
    draw(index)             the random inputs of step `index`, on the host
    advance(drawn, mark)    the step itself, on a draw that is on the device -> tensor of the `logged` values
    step(index, mark)       draw and advance; `mark` ends each phase
    set_learning_rate(lr)   for the next step
    snapshot(last)          what `evaluate` and `conclude` need, as tensors on the device by name; it is fast, because
                            training waits for it
    evaluate(step, recent, snapshot)
                            a point on each curve, from a snapshot on the host; `recent` holds the means of the `logged`
                            values since the last point
    conclude(snapshot)      -> Readouts: the row, a row for each test image, a picture
"""

from ganlab.tasks.depth import Depth
from ganlab.tasks.experiment import Experiment, Readouts
from ganlab.tasks.gan import Gan
from ganlab.tasks.interpolation import Interpolation
from ganlab.tasks.location import Location
from ganlab.tasks.reconstruction import Reconstruction
from ganlab.tasks.restoration import Restoration
from ganlab.tasks.super_resolution import SuperResolution

Task = Reconstruction | Gan | Location
_TASKS: tuple[type[Task], ...] = (SuperResolution, Depth, Interpolation, Restoration, Gan, Location)
TASKS = {task.name: task for task in _TASKS}

__all__ = [
    "TASKS",
    "Depth",
    "Experiment",
    "Gan",
    "Interpolation",
    "Location",
    "Readouts",
    "Restoration",
    "SuperResolution",
    "Task",
]

"""How do a loss and its gradient depend on the error? Theory only, no measurement."""

import torch
from matplotlib.figure import Figure

from bench.analysis import labels
from bench.analysis.labels import loss_name
from bench.analysis.summary import MAIN_PSNR
from bench.reports.figures import style
from bench.reports.figures.style import colours, styled
from bench.store.reader import Run
from ganlab.losses import PINBALL, find_loss, find_shipped

DRAWN_SOLID = ("bce", "l1", "l2")  # the others are dashed: Charbonnier covers L1, so both must stay visible


def has_shape(loss: str) -> bool:
    """Whether a loss is a shipped, fixed function of the error: no objective, no learnt parameter, no user loss."""
    shipped = None if loss.startswith(PINBALL) else find_shipped(loss)
    return shipped is not None and not shipped.build and not shipped.reason_against("sr", "sigmoid")


@styled
def loss_shapes(run: Run) -> Figure | None:
    """Loss and gradient against the error for target 0: where L2 exceeds L1, and which gradients a sigmoid removes."""
    cells = run.cells[run.cells["task"].isin((*MAIN_PSNR, "gan"))]
    losses = labels.in_order(filter(has_shape, set(cells["loss"])), labels.REGISTERED)
    if not losses or not (cells["status"] == "done").any():
        return None
    figure = Figure((12, 4.6), layout="constrained")
    value, slope, logit_slope = figure.subplots(1, 3)
    error = torch.linspace(0.002, 0.998, 250, dtype=torch.float64)
    for loss in losses:
        logit = torch.logit(error).requires_grad_()
        values = find_loss(loss)(logit, torch.zeros_like(logit), "sigmoid")
        in_logit = torch.autograd.grad(values.sum(), logit)[0]
        dash = "-" if loss in DRAWN_SOLID else (0, (3, 1.5))
        line_style = {"color": colours(run.cells)[loss], "label": loss_name(loss), "ls": dash}
        for axes, y in zip(
            (value, slope, logit_slope), (values.detach(), in_logit / (error * (1 - error)), in_logit), strict=True
        ):
            axes.plot(error, y, **line_style)
    value.set(title="loss", ylim=(0, 1.5))
    slope.set(title="gradient in the prediction", ylim=(0, 2.5))
    logit_slope.set(title="gradient in the logit (sigmoid head)", ylim=(0, 1.02))
    if {"l1", "l2"} <= set(losses):
        slope.plot(0.5, 1, "o", color=style.INK, zorder=4)
        slope.text(0.53, 0.72, "L2 overtakes L1\nonly above 1/2", va="top")
        value.annotate("squaring shrinks\nerrors below 1", (0.45, 0.2), (0.6, 0.03), size=9.5)
    for axes in (value, slope, logit_slope):
        axes.set(xlabel="error |prediction − target|", xlim=(0, 1))
    note = "theory alone; pixels and probabilities lie in [0, 1], so no error exceeds 1"
    style.legend(figure, value.get_legend_handles_labels()[0], note)
    figure.suptitle("Which errors does a loss listen to?", x=0.01, ha="left")
    return figure

"""Which statistic of its targets does a loss of the user's own seek? For the manifest of a run."""

from collections.abc import Iterable

from bench.loss_check.elementwise import sought
from ganlab.losses import PINBALL, find_loss, find_shipped


def is_users(loss: str) -> bool:
    """Whether a loss is the user's own: neither one that comes with the project nor a quantile's.

    >>> is_users("mypackage.module:MyLoss"), is_users("l1"), is_users("pinball-0.625")
    (True, False, False)
    """
    return find_shipped(loss) is None and not loss.startswith(PINBALL)


def what_they_seek(losses: Iterable[str]) -> dict[str, dict[str, str]]:
    """For the manifest of a run: of each loss of the user's own what it seeks, where that can be found numerically."""
    found = {}
    for name in sorted(filter(is_users, set(losses))):
        try:
            kind = sought(find_loss(name))[0]
        except Exception:  # of many kinds, from code of the user's: `loss check` says which, and training may yet do
            continue
        found[name] = {"minimiser": f"the {kind}" if kind else "neither the mean nor the median"}
    return found

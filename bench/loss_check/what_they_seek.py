"""Which statistic of its targets does a user's loss seek? The manifest of a run records it."""

from collections.abc import Iterable

from ganlab.losses import PINBALL, find_loss, find_shipped


def is_users(loss: str) -> bool:
    """Whether a loss is the user's own: neither shipped with the project nor a pinball loss.

    >>> is_users("mypackage.module:MyLoss"), is_users("l1"), is_users("pinball-0.625")
    (True, False, False)
    """
    return find_shipped(loss) is None and not loss.startswith(PINBALL)


def what_they_seek(losses: Iterable[str]) -> dict[str, dict[str, str]]:
    """The statistic that each of the user's losses seeks, by name, if it can be found numerically."""
    users = sorted(filter(is_users, set(losses)))
    if not users:
        return {}
    from bench.loss_check.elementwise import sought  # here, since its optimizer takes most runs a second to import

    statistics = {}
    for name in users:
        try:
            kind = sought(find_loss(name))[0]
        except Exception:  # user code can raise anything; `loss check` reports it, and training may still work
            continue
        statistics[name] = {"minimiser": f"the {kind}" if kind else "neither the mean nor the median"}
    return statistics

"""How are losses, tasks, conditions, and numbers written in tables, figures, and sentences, and in which order?"""

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import pandas as pd

from bench.analysis.comparison import EQUIVALENT, INCONCLUSIVE, NOT_TESTED, REFUTED, SUPPORTED
from ganlab.losses import LOSSES, PARTICULAR
from ganlab.outliers import CLEAN, OUTLIERS

ARTICLE_D_LOSS = 0.5  # the final d_loss that the article under test expects
CONFOUNDED: Final = "CONFOUNDED"  # correlated, but for all the run shows only because both change with time
NOT_TESTABLE: Final = "NOT TESTABLE"  # the run has the cells, but its data could not tell the claim from its rival
STANDS = (SUPPORTED, REFUTED, EQUIVALENT)  # verdicts that conclude something
SIGNS = {  # of verdicts: readable without colour
    **{SUPPORTED: "✓", REFUTED: "✗", EQUIVALENT: "=", INCONCLUSIVE: "?"},
    **{CONFOUNDED: "~", NOT_TESTABLE: "⊘", NOT_TESTED: "–"},
}
TITLES = {  # of the document's claims
    **{"procedure": "The procedure", "g-loss-tracks-quality": "g_loss tracks quality"},
    **{"d-loss-to-zero": "d_loss goes to 0", "d-loss-half": "d_loss is best at 0.5"},
    **{"l1-robust": "L1 is robust", "l2-reconstruction": "L2 reconstructs better"},
    "l1-needs-decay": "L1 needs decay, L2 does not",
}
TASK_NAMES = {
    **{"sr": "Super-resolution", "depth": "Depth", "interpolation": "Frame interpolation"},
    **{"restoration": "Restoration", "gan": "GAN", "location": "Location GAN"},
}
REGISTERED = (*LOSSES, *PARTICULAR)  # the order of losses everywhere


class Baseline(NamedTuple):
    """The PSNR that an untrained method reaches on a task: its column of cells.csv, and its name."""

    column: str
    name: str


BASELINES = {
    "sr": Baseline("bicubic_psnr_y_db", "bicubic, untrained"),
    "depth": Baseline("baseline_psnr_db", "block matching, untrained"),
    "interpolation": Baseline("baseline_psnr_y_db", "average of the two frames"),
    "restoration": Baseline("baseline_psnr_y_db", "spoiled input, untrained"),
}


def loss_name(loss: str) -> str:
    """A loss as people write it: abbreviations in capitals, other names unchanged (user losses: `bench.reports.names`).

    >>> loss_name("l1"), loss_name("huber")
    ('L1', 'huber')
    """
    return loss.upper() if re.fullmatch(r"bce|l\d+", loss) else loss


def task_name(task: str) -> str:
    """A task as people write it."""
    return TASK_NAMES.get(task, task)


def psnr_name(task: str) -> str:
    """The PSNR by which a reconstruction task is judged."""
    return "PSNR of disparity" if task == "depth" else "PSNR on Y"


def arm_name(loss: str, head: str) -> str:
    """A loss with its head. The head is always shown: "L2" alone could mean two different trainings."""
    return f"{loss_name(loss)} {head}"


def listed(names: Sequence[str]) -> str:
    """Names in a sentence.

    >>> listed(["L1"]), listed(["BCE", "L1", "L2"])
    ('L1', 'BCE, L1, and L2')
    """
    return " and ".join(names) if len(names) < 3 else f"{', '.join(names[:-1])}, and {names[-1]}"


def number(value: float, digits: int, sign: str = "") -> str:
    """A number with a fixed number of decimals, a true minus sign, and no minus before zero. `sign="+"` shows a plus.

    >>> number(-0.25, 2), number(1.5, 1), number(-0.001, 2)
    ('−0.25', '1.5', '0.00')
    """
    text = f"{value:{sign}.{digits}f}"
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", "−")


def signed(value: float, digits: int = 2) -> str:
    """A `number` with its sign, for differences.

    >>> signed(-0.25), signed(1.5), signed(-0.001)
    ('−0.25', '+1.50', '0.00')
    """
    return number(value, digits, "+")


def percent(rate: float) -> str:
    """A share in per cent, without trailing zeros.

    >>> percent(0.2), percent(0.025)
    ('20 %', '2.5 %')
    """
    return f"{100 * rate:.3g} %"


def condition_name(outlier: str, rate: float) -> str:
    """An outlier kind with its rate, or `clean`."""
    return CLEAN if outlier == CLEAN else f"{outlier} {percent(rate)}"


def dataset_label(dataset: str, scale: float | None) -> str:
    """A data set, with its magnification if it has one."""
    return dataset if scale is None or pd.isna(scale) else f"{dataset}, ×{scale:g}"


def in_order(names: Iterable[str], registry: Iterable[str]) -> list[str]:
    """Distinct names in their registry's order; unknown ones follow alphabetically."""
    names, registry = set(names), list(registry)
    return [name for name in registry if name in names] + sorted(names - set(registry))


def arms_of(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """The (loss, head) pairs of some rows, losses in the registry's order, the sigmoid head first."""
    pairs = _distinct(rows, "loss", "head")
    losses = in_order((loss for loss, _ in pairs), REGISTERED)
    return sorted(pairs, key=lambda pair: (losses.index(pair[0]), pair[1] != "sigmoid", pair[1]))


def _distinct(rows: pd.DataFrame, *columns: str) -> set[tuple]:
    """The distinct combinations of values in some columns. Object arrays, because iterating text columns is slow."""
    return set(zip(*(rows[column].to_numpy(object) for column in columns), strict=True))


def conditions_of(rows: pd.DataFrame) -> list[tuple[str, float]]:
    """The (outlier, rate) pairs of some rows: clean first, then kinds in the registry's order, rates rising."""
    pairs = _distinct(rows, "outlier", "rate")
    kinds = in_order((kind for kind, _ in pairs), (CLEAN, *OUTLIERS))
    return sorted(pairs, key=lambda pair: (kinds.index(pair[0]), pair[1]))


def first_sentence(text: str) -> str:
    """A statement without its explanation.

    >>> first_sentence("L2 loses less than 0.1 dB. (Read so.)")
    'L2 loses less than 0.1 dB.'
    """
    return re.split(r"(?<=[.]) ", text, maxsplit=1)[0]

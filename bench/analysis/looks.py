"""After how many seeds is a comparison judged, and which share of its error may each look spend?

Fixed beforehand, in code, so that no result can choose it. The verdict is that of the first look that decides, from the
seeds up to that look alone, however many there are. The shares add up to 1, so by Bonferroni all looks together err no
more often than one look with the whole error.
"""

from dataclasses import dataclass

import pandas as pd

from bench.plan.seeds import LOOKS, looks_between


@dataclass(frozen=True)
class Plan:
    """The looks of a comparison.

    Attributes:
        looks: numbers of seeds, rising.
        shares: the share of the comparison's error that each look spends; they add up to 1.
    """

    looks: tuple[int, ...]
    shares: tuple[float, ...]

    @property
    def fixed(self) -> bool:
        """Whether there is one look only, with the whole error."""
        return len(self.looks) == 1

    def following(self, n: int) -> int | None:
        """The first look after n seeds; None after the last one."""
        return next((look for look in self.looks if look > n), None)


def fixed(seeds: int) -> Plan:
    """One look, with the whole error, after a number of seeds that was fixed beforehand."""
    return Plan((seeds,), (1.0,))


def sequential(first: int = LOOKS[0], most: int = LOOKS[-1]) -> Plan:
    """The looks from `first` to `most` seeds, with equal shares.

    Raises:
        ValueError: if `first` or `most` is not in `LOOKS`, or first > most.

    >>> sequential(9, 18).looks
    (9, 12, 18)
    """
    if first not in LOOKS or most not in LOOKS or first > most:
        raise ValueError(f"looks are at {', '.join(map(str, LOOKS))} seeds: no plan from {first} to {most}")
    looks = looks_between(first, most)
    return Plan(looks, (1 / len(looks),) * len(looks))


def plan_of(cells: pd.DataFrame) -> Plan | None:
    """The looks of a comparison of these cells: the narrowest plan of its sides; None where a side has fixed seeds."""
    if "most_seeds" not in cells or cells.empty or cells[["first_seeds", "most_seeds"]].isna().any(axis=None):
        return None
    first, most = int(cells["first_seeds"].max()), int(cells["most_seeds"].min())
    return sequential(first, most) if first <= most else None

"""Which seeds does a block train: a fixed list, or more and more until what they are for is decided?

`seeds = { first = 6, most = 48 }` starts with seeds 0 to 5. At each look (`LOOKS`) every open question is judged with
its share of the error; only the cells of questions that are still open get the seeds of the next look. The looks are
fixed here, before any training, so that looking often does not make false verdicts more frequent: Pocock, "Group
sequential methods in the design and analysis of clinical trials" (Biometrika, 1977).
"""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from bench.store.validation import shown
from ganlab.records import FrozenRecord

LOOKS = (6, 9, 12, 18, 24, 36, 48)  # multiples of three: each bundled photograph is then tested equally often
MOST_SEEDS, LARGEST_SEED = 1000, 2**53  # a typing error must not fill the memory; exact in every file format

Look = Annotated[int, Field(strict=True)]
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED, strict=True)]


class SeedPlan(FrozenRecord):
    """Seeds 0 to `first` - 1, then more at each look, up to `most`; both are among `LOOKS`."""

    first: Look
    most: Look

    @model_validator(mode="after")
    def _are_looks(self) -> "SeedPlan":
        for name, value in (("first", self.first), ("most", self.most)):
            if value not in LOOKS:
                raise ValueError(f"{name} = {shown(value)}: one of {', '.join(map(str, LOOKS))}")
        if self.first > self.most:
            raise ValueError(f"first = {self.first} is more than most = {self.most}")
        return self


def looks_between(first: int, most: int) -> tuple[int, ...]:
    """The looks of a plan: the numbers of seeds at which its questions are judged.

    >>> looks_between(6, 18)
    (6, 9, 12, 18)
    """
    return tuple(look for look in LOOKS if first <= look <= most)


def _counted(value: Any) -> Any:
    """`seeds = 6` means 0 to 5; a list is used as it is."""
    if isinstance(value, bool) or not isinstance(value, int):
        return value
    if not 1 <= value <= MOST_SEEDS:
        raise ValueError(f"seeds = {shown(value)}: a count from 1 to {MOST_SEEDS}, or a list of seeds")
    return tuple(range(value))


FixedSeeds = Annotated[tuple[Seed, ...], BeforeValidator(_counted), Field(min_length=1)]

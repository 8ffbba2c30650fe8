"""Which errors can a user do something about? Those that derive from `UserError`."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """The message is one line: what is wrong, where, and what to do about it."""


def no_such(kind: str, name: object, valid: Iterable[str]) -> str:
    """The message for an unknown name, with the nearest valid name, or all of them.

    >>> no_such("loss", "l3", ["l1", "bce"])
    "unknown loss 'l3'; did you mean 'l1'?"
    """
    valid = list(valid)
    nearest = difflib.get_close_matches(str(name), valid, n=1, cutoff=0.4)
    hint = f"did you mean {nearest[0]!r}?" if nearest else f"there are {', '.join(valid)}"
    return f"unknown {kind} {str(name)!r}; {hint}"

"""How does a folder of anybody's images become a data set? `folder:PATH`, or `folder:TRAIN::TEST` for photographs.

A file goes to training, validation, or test by a hash of its name, so that adding a file moves no other. What cannot
be used is named and skipped; a folder that holds too little is refused in one line that says what it takes. How one
is read as data of a kind: `folder_photographs.py`, `folder_classes.py`, `folder_frames.py`.
"""

import hashlib
import os
import re
import unicodedata
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TypeVar

from ganlab.datasets.images import FORMATS, SUFFIXES, Unreadable
from ganlab.datasets.kinds import DataMissing

PREFIX, SEPARATOR = "folder:", "::"
LONGEST_NAME = 180  # letters of an image's name: it stands in tables and figures
LONGEST_PLACE = 900  # letters of a data set's name: it stands in files, and figures shorten it
MOST_FILES = 100_000
SKIPPED_NAMED = 5  # of the files that are skipped, which are all counted
VALIDATION, TEST = 0.15, 0.25  # shares of one folder

T = TypeVar("T")


@dataclass
class Folder:
    """The image files in a folder and its sub-folders.

    Attributes:
        path: where it lies.
        names: paths relative to it, with `/`, in natural order; what is hidden or of another suffix is left out.
        skipped: the files that are not used, and why.
        others: how many files have another suffix.
    """

    path: Path
    names: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    others: int = 0

    def each(self, names: Iterable[str], read: Callable[[Path], T]) -> Iterator[tuple[str, T]]:
        """What `read` makes of each of these files, by name; the ones it cannot read are skipped."""
        for name in names:
            try:
                yield name, read(self.path / name)
            except Unreadable as error:
                self.skipped[name] = str(error)


def is_place(name: str) -> bool:
    """Whether a name is that of a folder (or two) and can stand in a table: any printable letters, not too many.

    >>> is_place("folder:/home/me/100 $ photos [é], old"), is_place("photographs"), is_place("folder:two\\nlines")
    (True, False, False)
    """
    return name.startswith(PREFIX) and len(name) <= LONGEST_PLACE and name.isprintable()


def folders_of(name: str) -> tuple[Path, ...]:
    """The one folder or the two (training, test) of a data set's name.

    Raises:
        DataMissing: no folder there, or a name that cannot stand in a table.
    """
    if not is_place(name):
        raise DataMissing(
            f"{ascii(name)[:300]} cannot name a data set: {PREFIX} and a path of at most {LONGEST_PLACE} "
            "printable letters can; rename the folder, or start from a folder nearer to it"
        )
    parts = name.removeprefix(PREFIX).split(SEPARATOR)
    if len(parts) > 2:
        raise DataMissing(f"{name}: that is {len(parts)} folders; name one, or one to train on and one for tests")
    paths = tuple(Path(part).expanduser() for part in parts)
    for part, path in zip(parts, paths, strict=True):
        if not part or not path.is_dir():
            raise DataMissing(
                f"{name}: there is no folder {part or 'without a name'!r}; name one that exists, as in "
                f"{PREFIX}PATH or {PREFIX}TRAIN{SEPARATOR}TEST"
            )
    whole = [path.resolve() for path in paths]
    if len(whole) == 2 and (whole[0].is_relative_to(whole[1]) or whole[1].is_relative_to(whole[0])):
        raise DataMissing(
            f"{name}: one folder lies in the other, so networks would be tested on what they were "
            "trained on; move them apart"
        )
    return paths


def only_folder(name: str, use: str) -> Path:
    """The folder of a data set that has to be in one.

    Raises:
        DataMissing: no folder there, or two.
    """
    first, *more = folders_of(name)
    if more:
        raise DataMissing(f"{name}: two folders are for photographs; {use} takes one, which it splits: {PREFIX}PATH")
    return first


def scan(path: Path) -> Folder:
    """The image files in a folder and its sub-folders; links are not followed.

    Raises:
        DataMissing: too many files.
    """
    found = Folder(path)

    def unreadable(error: OSError) -> None:
        found.skipped[relative(error.filename)] = error.strerror

    def relative(file: str) -> str:
        return Path(os.path.relpath(file, path)).as_posix()

    for place, folders, files in os.walk(path, onerror=unreadable):
        for name in (*folders, *files):
            if os.path.islink(os.path.join(place, name)):
                found.skipped[relative(os.path.join(place, name))] = "a link, which is not followed"
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            file = relative(os.path.join(place, name))
            if name.startswith(".") or file in found.skipped:
                continue
            if name.lower().endswith(SUFFIXES):
                found.names.append(file)
            else:
                found.others += 1
        if len(found.names) > MOST_FILES:
            raise DataMissing(f"{path} holds more than {MOST_FILES:,} images; name a smaller folder")
    found.names.sort(key=natural)
    return found


def natural(name: str) -> list[tuple[int, str]]:
    """A key to sort names by as people do: numbers by their size.

    >>> sorted(["frame10.png", "frame9.png"], key=natural)
    ['frame9.png', 'frame10.png']
    """
    parts = re.split(r"([0-9]+)", name.casefold())
    return [(int(part[:300]) if part.isdecimal() else -1, part) for part in parts] + [(-1, name)]


def place_of(name: str) -> float:
    """Where a name's hash lies between 0 and 1: the same for ever, whatever the other files are."""
    spelled = unicodedata.normalize("NFC", name).encode("utf-8", "backslashreplace")  # macOS spells é in two letters
    return int.from_bytes(hashlib.sha256(spelled).digest()[:8], "big") / 2**64


def label(name: str, taken: Container[str] = ()) -> str:
    """A file's name as it can stand in tables and figures, with a number behind it where it is taken.

    >>> label("a.png"), label("a.png", taken=["a.png", "a.png (2)"])
    ('a.png', 'a.png (3)')
    """
    text = "".join(letter if letter.isprintable() and letter != "$" else "_" for letter in name)
    tries = (_shortened(text, f" ({number})" if number > 1 else "") for number in count(1))
    return next(label for label in tries if label not in taken)


def _shortened(text: str, mark: str) -> str:
    """The end of a text with a mark behind it, `LONGEST_NAME` letters at most."""
    room = LONGEST_NAME - len(mark)
    return (text if len(text) <= room else f"...{text[3 - room :]}") + mark


def reasons(skipped: dict[str, str], others: int = 0) -> str:
    """Why a folder has fewer images than files, as the end of a line; "" where it has not."""
    parts = [listed(skipped)] if skipped else []
    if others:
        parts.append(f"{others} files have another suffix than those of {', '.join(FORMATS)}")
    return f" ({'; '.join(parts)})" if parts else ""


def listed(skipped: dict[str, str]) -> str:
    """How many files were skipped, and the first of them with their reasons."""
    first = [f"{label(file)} ({reason})" for file, reason in list(skipped.items())[:SKIPPED_NAMED]]
    more = [f"and {len(skipped) - len(first)} more"] if len(skipped) > len(first) else []
    return f"{len(skipped)} skipped: {', '.join([*first, *more])}"


def skipped_note(name: str, skipped: dict[str, str]) -> list[str]:
    """The line on skipped files for who runs a suite; none where there is none."""
    more = f"; `python -m bench data check {name}` lists all" if len(skipped) > SKIPPED_NAMED else ""
    return [listed(skipped) + more] if skipped else []

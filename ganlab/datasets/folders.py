"""How does a folder of a user's images become a data set? `folder:PATH`, or `folder:TRAIN::TEST` for photographs.

A hash of its name assigns a file to training, validation, or test, so adding a file moves no other file. A file that
cannot be used is skipped and named; a folder with too few files is rejected with one line that says what is needed. The
kinds of data that a folder can be read as: `folder_photographs.py`, `folder_classes.py`, `folder_frames.py`.
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
LONGEST_NAME = 180  # letters of an image's name, which appears in tables and figures
LONGEST_DATASET = 900  # letters; it appears in files, and figures shorten it
MOST_FILES = 100_000
SKIPPED_NAMED = 5  # skipped files that a message names; it counts all of them
VALIDATION, TEST = 0.15, 0.25  # shares of one folder

T = TypeVar("T")


@dataclass
class Folder:
    """The image files in a folder and its sub-folders.

    Attributes:
        path: the folder.
        names: paths relative to it, with `/`, in natural order, without hidden files and those of other suffixes.
        skipped: the files that are not used, and why.
        others: how many files have another suffix.
    """

    path: Path
    names: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    others: int = 0

    def each(self, names: Iterable[str], read: Callable[[Path], T]) -> Iterator[tuple[str, T]]:
        """The result of `read` for each of these files, with its name; unreadable files are skipped."""
        for name in names:
            try:
                yield name, read(self.path / name)
            except Unreadable as error:
                self.skipped[name] = str(error)


def names_folder(name: str) -> bool:
    """Whether a data set's name refers to one or two folders and fits tables: printable letters, not too many.

    >>> [names_folder(name) for name in ("folder:/home/me/100 $ photos [é], old", "photographs", "folder:two\\nlines")]
    [True, False, False]
    """
    return name.startswith(PREFIX) and len(name) <= LONGEST_DATASET and name.isprintable()


def folders_of(name: str) -> tuple[Path, ...]:
    """The folder, or the two folders (training, test), of a data set's name.

    Raises:
        DataMissing: there is no such folder, or the name does not fit tables.
    """
    if not names_folder(name):
        raise DataMissing(
            f"{ascii(name)[:300]} cannot name a data set: {PREFIX} and a path of at most {LONGEST_DATASET} "
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
    first, last = paths[0].resolve(), paths[-1].resolve()
    if len(paths) == 2 and (first.is_relative_to(last) or last.is_relative_to(first)):
        raise DataMissing(
            f"{name}: one folder lies in the other, so networks would be tested on what they were "
            "trained on; move them apart"
        )
    return paths


def only_folder(name: str, use: str) -> Path:
    """The folder of a data set that must have only one; `use` names the purpose in the message.

    Raises:
        DataMissing: there is no such folder, or there are two.
    """
    first, *more = folders_of(name)
    if more:
        raise DataMissing(f"{name}: two folders are for photographs; {use} takes one, which it splits: {PREFIX}PATH")
    return first


def scan(path: Path) -> Folder:
    """The image files in a folder and its sub-folders; links are not followed.

    Raises:
        DataMissing: there are too many files.
    """
    folder = Folder(path)

    def unreadable(error: OSError) -> None:
        folder.skipped[relative(error.filename)] = error.strerror or str(error)

    def relative(file: str) -> str:
        return Path(os.path.relpath(file, path)).as_posix()

    for parent, subfolders, files in os.walk(path, onerror=unreadable):
        for name in (*subfolders, *files):
            if os.path.islink(os.path.join(parent, name)):
                folder.skipped[relative(os.path.join(parent, name))] = "a link, which is not followed"
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in files:
            file = relative(os.path.join(parent, name))
            if name.startswith(".") or file in folder.skipped:
                continue
            if name.lower().endswith(SUFFIXES):
                folder.names.append(file)
            else:
                folder.others += 1
        if len(folder.names) > MOST_FILES:
            raise DataMissing(f"{path} holds more than {MOST_FILES:,} images; name a smaller folder")
    folder.names.sort(key=natural)
    return folder


def natural(name: str) -> list[tuple[int, str]]:
    """A sort key that orders numbers in names by their value.

    >>> sorted(["frame10.png", "frame9.png"], key=natural)
    ['frame9.png', 'frame10.png']
    """
    parts = re.split(r"([0-9]+)", name.casefold())
    return [(int(part[:300]) if part.isdecimal() else -1, part) for part in parts] + [(-1, name)]


def hash_fraction(name: str) -> float:
    """The hash of a name as a number in [0, 1); it depends only on the name."""
    spelled = unicodedata.normalize("NFC", name).encode(
        "utf-8", "backslashreplace"
    )  # macOS writes é as two code points
    return int.from_bytes(hashlib.sha256(spelled).digest()[:8], "big") / 2**64


def label(name: str, taken: Container[str] = ()) -> str:
    """A file's name for tables and figures, followed by a number if the name is taken.

    >>> label("a.png"), label("a.png", taken=["a.png", "a.png (2)"])
    ('a.png', 'a.png (3)')
    """
    text = "".join(letter if letter.isprintable() and letter != "$" else "_" for letter in name)
    candidates = (_shortened(text, f" ({number})" if number > 1 else "") for number in count(1))
    return next(candidate for candidate in candidates if candidate not in taken)


def _shortened(text: str, suffix: str) -> str:
    """The end of a text followed by a suffix, `LONGEST_NAME` letters at most."""
    room = LONGEST_NAME - len(suffix)
    return (text if len(text) <= room else f"...{text[3 - room :]}") + suffix


def reasons(skipped: dict[str, str], others: int = 0) -> str:
    """Why a folder has fewer images than files, as the end of a message; "" if there is no such reason."""
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
    """The note on skipped files for users who run a suite: one line, or none."""
    more = f"; `python -m bench data check {name}` lists all" if len(skipped) > SKIPPED_NAMED else ""
    return [listed(skipped) + more] if skipped else []

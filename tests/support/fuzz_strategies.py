"""Which content may an untrusted file have? Strategies that change a valid file, for `tests/bench/test_fuzz.py`."""

import copy
import csv
import io
import json
import math

from hypothesis import strategies as st

EVIL_TEXTS = (
    *("../../../etc/passwd", "/etc/passwd", "..", ".", "~", "C:\\x", "a/b", "a\0b", "-rf", "$(reboot)", "`id`", "%s"),
    *("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "' onload='x", "</title><svg/onload=x>", "{{7}}"),
    *("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''", "=cmd|' /C calc'!A0", "＝1", "{0.__class__}", "％"),
    *("\x1b[2J", "\u202eabc", "\u2028", "\ufeff", "éé", "漢字", "\U0001f600", "a\nb", "a\r\nb", " ", "", "\\", '"'),
    *("nan", "inf", "-inf", "NaN", "None", "null", "true", "1e999", "1_000", "0x1F", "١٢", "1e-400", "--1", "1,5"),
    *("$\\frac{1}{0}$", "x^$", "\\input{x}", "a|b", "[x](javascript:alert(1))", "&amp;", "9" * 30, "9" * 5000),
    *("18446744073709551615", "x" * 200, "x" * 201, "x" * 200_000, "pinball-x", "pinball-", "pinball-nan", "pinball-7"),
    *("a.b:C", ":", "folder:", "folder:/x/$y$", "folder:a::b", "c0de+89abcdef", "depth", "restoration", "missing"),
    *("l1", "bce", "clean", "salt", "noise", "done", "pending", "sr", "gan", "location", "reference", "tune"),
)
TEXTS = st.sampled_from(EVIL_TEXTS) | st.text(max_size=12)
NUMBERS = st.sampled_from(
    [
        *(
            0,
            1,
            -1,
            2,
            3,
            0.5,
            1.5,
            -0.0,
            1e-320,
            1e-9,
            1e15,
            1e100,
            1e101,
            1e308,
            -1e308,
            math.nan,
            math.inf,
            -math.inf,
        ),
        *(2**31, 2**53 + 1, 2**63, 2**64 - 1, 10**9, 10**30, 10**400, True, False),
    ]
)


def nested(depth: int) -> list:
    """Lists in lists."""
    return [nested(depth - 1)] if depth else []


JSON = st.recursive(
    st.none() | NUMBERS | TEXTS | st.sampled_from([nested(50), nested(150)]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=4,
)


def paths(tree: object, prefix: tuple = ()) -> list[tuple]:
    """Every path in a tree of dictionaries and lists, as a tuple of keys."""
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [prefix] * bool(prefix) + [path for key, value in inner for path in paths(value, (*prefix, key))]


@st.composite
def altered(draw, tree: object) -> object:
    """A tree with one or two values replaced, removed, renamed, or added."""
    tree = copy.deepcopy(tree)
    for _ in range(draw(st.integers(1, 2))):
        *parents, last = draw(st.sampled_from(paths(tree)))
        parent = tree
        for key in parents:
            parent = parent[key]
        kind = draw(st.sampled_from(("replace", "replace", "remove", "rename", "add")))
        if kind == "replace":
            parent[last] = copy.deepcopy(draw(JSON))
        elif kind == "remove":
            del parent[last]
        elif isinstance(parent, list):
            parent.append(copy.deepcopy(draw(JSON)))
        else:
            parent[draw(TEXTS)] = parent.pop(last) if kind == "rename" else copy.deepcopy(draw(JSON))
        if not paths(tree):
            break
    return tree


@st.composite
def altered_table(draw, rows: list[list[str]]) -> str:
    """A CSV file, its header the first of `rows`, with one or two fields, rows, or columns changed."""
    rows = [list(row) for row in rows]
    kinds = ("field", "field", "field", "field", "cut", "grow", "twice", "gone", "column", "no column", "swap")
    for _ in range(draw(st.integers(1, 2))):
        number, other = draw(st.integers(0, len(rows) - 1)), draw(st.integers(0, len(rows) - 1))
        column = draw(st.integers(0, max(len(rows[number]) - 1, 0)))
        kind = draw(st.sampled_from(kinds))
        if kind == "field" and rows[number]:
            rows[number][column] = draw(TEXTS | NUMBERS.map(plain))
        elif kind == "cut":
            del rows[number][column:]
        elif kind == "grow":
            rows[number].append(draw(TEXTS))
        elif kind == "twice":
            rows.insert(number, list(rows[other]))
        elif kind == "gone" and len(rows) > 1:
            del rows[number]
        elif kind == "column":
            rows = [[*row, *row[column : column + 1]] for row in rows]
        elif kind == "no column":
            rows = [row[:column] + row[column + 1 :] for row in rows]
        elif rows[number] and rows[other]:
            rows[number][0], rows[other][0] = rows[other][0], rows[number][0]
    out = io.StringIO()
    quoting = draw(st.sampled_from((csv.QUOTE_MINIMAL, csv.QUOTE_ALL)))
    csv.writer(out, lineterminator="\n", quoting=quoting).writerows(rows)
    return out.getvalue()


JUNK = st.sampled_from([b"\0", b"\xff", b"\xed\xa0\x80", b'"', b",", b"\n", b"{", b"]" * 9]) | st.binary(max_size=8)


def garbled(text: str) -> st.SearchStrategy[bytes]:
    """A text, unchanged or damaged as by an editor, a disk, or a network."""
    return garbled_bytes(text.encode("utf-8", "surrogatepass"))


@st.composite
def garbled_bytes(draw, content: bytes) -> bytes:
    """Bytes, unchanged or damaged as by an editor, a disk, or a network."""
    if draw(st.integers(0, 2)):
        return content
    lines = content.splitlines(keepends=True) or [b""]
    number, offset = draw(st.integers(0, len(lines) - 1)), draw(st.integers(0, len(content)))
    junk = draw(JUNK)
    return draw(
        st.sampled_from(
            [
                content.replace(b"\n", b"\r\n"),
                content.replace(b"\n", b"\r"),
                b"\xef\xbb\xbf" + content,
                content + content,
                content.decode("utf-8", "replace").encode("utf-16"),
                content[:offset],
                content[offset:],
                content[:offset] + junk + content[offset:],
                b"".join([*lines[:number], lines[number] * 2, *lines[number + 1 :]]),
                b"".join([*lines[:number], *lines[number + 1 :]]),
            ]
        )
    )


NAMES = [text for text in EVIL_TEXTS if 0 < len(text) <= 200 and text.isprintable() and "$" not in text]
NUMERALS = set("0123456789.e-")
EXTREMES = ["", "0", "1", "-1", "0.5", "1e-320", "1e-9", "100", "1e15", "9007199254740992", "1e99", "-1e99", "1e100"]


@st.composite
def unusual_tables(draw, tables: dict[str, list[dict[str, str]]]) -> dict[str, list[dict[str, str]]]:
    """A run with valid files and unusual content: other names, extremes, gaps, or almost no rows."""
    tables = {name: [dict(row) for row in rows] for name, rows in tables.items()}
    for _ in range(draw(st.integers(1, 4))):
        name = draw(st.sampled_from(("cells", "cells", "cells", *tables)))
        rows, kind = tables[name], draw(st.sampled_from(("one", "some", "all", "each", "fewer")))
        if not rows:
            continue
        if kind == "fewer":
            tables[name] = rows[draw(st.integers(0, 1)) :: draw(st.sampled_from((2, 3, 10**6)))]
            continue
        column = draw(st.sampled_from(list(rows[0])))
        present = sorted({row[column] for row in rows})
        texts = st.sampled_from(present) | st.sampled_from(EXTREMES if set("".join(present)) <= NUMERALS else NAMES)
        text = draw(texts)
        for row in rows[:: {"one": 10**6, "some": 3}.get(kind, 1)]:
            row[column] = draw(texts) if kind == "each" else text
    done = {row["cell_id"]: row["status"] == "done" for row in tables["cells"]}
    tables["images"] = [row for row in tables["images"] if done.get(row["cell_id"])]
    tables["curves"] = [row for row in tables["curves"] if row["cell_id"] in done]
    return tables


NOISE = st.binary(max_size=60) | st.text(max_size=60).map(str.encode)


def plain(value: object) -> str:
    """A number as text, however long."""
    return "1" + "0" * 400 if value == 10**400 else str(value)


def as_json(tree: object) -> str:
    """A tree as JSON, including NaN and infinity."""
    return json.dumps(tree, indent=1)


def as_toml(tree: object) -> str:
    """A tree as TOML, one top-level key per line; a value that is no table gets the key `x`."""
    tree = tree if isinstance(tree, dict) else {"x": tree}
    return "".join(f"{json.dumps(str(key))} = {_inline(value)}\n" for key, value in tree.items())


def _inline(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(key))} = {_inline(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if value is None or isinstance(value, bool | str):
        return json.dumps("" if value is None else value)
    return plain(value)

"""Suite files: their size, name, byte order mark, and blocks without a cell."""

import pytest

from bench.plan.reading import SuiteError, read_suite

SUITE = """title = "t"
[[matrix]]
task = "sr"
dataset = "photographs"
loss = ["bce", "l1"]
lr = 1e-3
seeds = 2
steps = 10
evaluations = 2
batch_size = 4
"""


@pytest.fixture
def mine(tmp_path):
    return tmp_path / "mine.toml"


def test_a_suite_is_named_by_its_file_or_by_itself(mine):
    mine.write_text(SUITE)
    assert read_suite(str(mine)).name == "mine"
    mine.write_text(f'name = "another"\n{SUITE}')
    assert read_suite(str(mine)).name == "another"
    (mine.parent / "plain").write_text(SUITE)  # a path need not end in .toml
    assert read_suite(str(mine.parent / "plain")).name == "plain"


def test_a_byte_order_mark_is_accepted(mine):
    mine.write_bytes(b"\xef\xbb\xbf" + SUITE.encode())
    assert len(read_suite(str(mine)).cells) == 4


def test_a_suite_has_at_most_a_mebibyte(mine):
    comment = "#" * (2**20 - len(SUITE))
    mine.write_text(SUITE + comment)
    assert len(read_suite(str(mine)).cells) == 4
    mine.write_text(SUITE + comment + "#")
    with pytest.raises(SuiteError, match="too long for a suite, which a person reads in a minute"):
        read_suite(str(mine))


def test_a_line_has_at_most_3162_dots(mine):  # the square root of 10 million: what tomllib keeps of a dotted key
    mine.write_text(f"{SUITE}#{'.' * 3162}")
    assert len(read_suite(str(mine)).cells) == 4
    mine.write_text(f"{SUITE}#{'.' * 3163}")
    with pytest.raises(SuiteError, match="too long for a suite"):
        read_suite(str(mine))


@pytest.mark.parametrize("change", [{"outliers": {}}, {"outliers": {"salt": []}}, {"lr": []}])
def test_a_block_without_a_cell_is_named(mine, change):
    mine.write_text(SUITE)
    with pytest.raises(SuiteError, match=r"matrix 1: declares no cell \(an empty list, or no loss on these heads\)"):
        read_suite(str(mine), change)

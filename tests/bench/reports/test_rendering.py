"""Do HTML and Markdown have the same content, and is all text escaped?"""

import html
import re

import pytest

from bench.reports.rendering import Rendered, code_span, escape_markdown, render
from bench.reports.tables.table import Table, TableCell

EVIL = "<script>alert('x')</script> | a\nb [c](http://example.org) ```\n*i* `d` & _e_"


def page_of(text: str) -> Rendered:
    """The page of runs side by side, the same text wherever one may stand."""
    table = Table("t", text, [text, "dB"], [[TableCell(text, text, (text,)), TableCell("1", 1.0)]])
    page = {"sentences": [text], "warnings": [text], "command": f"bench {text}", "pictures": {}}
    tables = {"facts_table": table, "differences_table": table, "verdicts_table": None, "times_table": None}
    return render("side_by_side.j2", text, page | tables)


def words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text)


@pytest.mark.parametrize("text", ["Plain words", EVIL])
def test_both_say_the_same_in_the_same_order(text):
    page = page_of(text)
    main = page.html.partition('<main id="content">')[2].partition("</main>")[0]
    seen = html.unescape(re.sub("<[^>]+>", " ", main))
    written = html.unescape(re.sub('<a id="[^"]+"></a>', "", page.markdown))
    assert words(seen) == words(written)


def test_printed_text_never_becomes_markup():
    page, plain = page_of(EVIL), page_of("x")
    for markup in ("<script", "<a (?!class=.word.)", "<button", "<em"):
        assert len(re.findall(markup, page.html)) == len(re.findall(markup, plain.html))
    outside, command, after = page.markdown.split("\n```\n")
    assert command == "bench " + " ".join(EVIL.splitlines())
    for text in (outside, after):
        assert "<script" not in text
        assert not re.search(r"(?<!\\)[`*]i|(?<!\\)\[c|(?<!\\)\| a b", text)


def test_code_spans_are_closed_correctly():
    assert code_span("``a`\nb") == "``` ``a` b ```"
    assert code_span("a_b") == "`a_b`"


def test_pieces_of_a_sentence_keep_their_spaces():
    assert escape_markdown(", and ") == ", and "

"""How does a template become a self-contained HTML file, and Markdown for code hosts?"""

import base64
import functools
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup
from PIL import Image

from bench.reports.glossary import GLOSSARY, METHODS, explained, meaning

DRAWN_AT_MOST = 40_000  # bytes of PNG; a larger figure may contain photographs
COLOURED = {  # verdicts: their class in report.css
    **{word: word.lower() for word in ("BETTER", "WORSE", "EQUIVALENT", "INCONCLUSIVE", "SUPPORTED", "REFUTED")},
    **{"CONFOUNDED": "inconclusive", "NOT TESTABLE": "inconclusive"},
}
MOST_PIXELS = 9_000_000  # of a figure in the page; the file beside it keeps the full size


class Picture(NamedTuple):
    """A figure of a page, with its alternative text, its file, and the command that redraws it."""

    number: int
    name: str
    title: str
    alt: str
    file: Path
    command: str


class Rendered(NamedTuple):
    """A page in both formats."""

    html: str
    markdown: str


def render(template: str, title: str, page: Mapping[str, object]) -> Rendered:
    """Render a template twice: as HTML without external resources, and as Markdown with figures as files.

    A template describes the page with the blocks (macros) of `html.j2` or `markdown.j2`.
    """
    listed: list[tuple[str, str]] = []  # (anchor, name) of each section in the navigation; headings add to it
    variables = {**page, "title": title, "listed": listed, "glossary": GLOSSARY, "methods": METHODS}
    content = Markup(_html().get_template(template).render(variables, blocks="html.j2"))
    html = _html().get_template("page.html.j2").render(variables, content=content)
    text = _markdown().get_template(template).render(variables, blocks="markdown.j2")
    return Rendered(html, re.sub(r"\n{3,}", "\n\n", text).strip() + "\n")


@functools.cache  # it keeps the compiled templates, for the next page of this process
def _html() -> Environment:
    environment = _environment()
    environment.filters |= {"embedded": embedded, "explained": explained, "meaning": meaning, "colour": colour}
    return environment


@functools.cache
def _markdown() -> Environment:
    environment = _environment(finalize=_in_markdown)
    environment.filters |= {"code_span": code_span, "explained": str, "verbatim": verbatim}
    return environment


def _environment(**options: Any) -> Environment:
    loader = PackageLoader("bench.reports", "templates")
    return Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, **options
    )


@pass_context  # otherwise Jinja would escape constants for HTML at compile time
def _in_markdown(_: Context, value: object) -> Markup:
    """A printed value, escaped for Markdown unless it is markup already."""
    return value if isinstance(value, Markup) else Markup(escape_markdown(value))


def colour(text: str) -> str:
    """The CSS class of a verdict; empty for other text.

    >>> colour("✓ SUPPORTED"), colour("+1.2 dB")
    ('supported', '')
    """
    return COLOURED.get(text.partition(" ")[2], "")


def verbatim(text: str) -> Markup:
    """Text that is not escaped for Markdown: markup, or code on a single line.

    >>> verbatim("a_b\\nc")
    Markup('a_b c')
    """
    return Markup(" ".join(text.splitlines()))


def code_span(text: str) -> Markup:
    """Inline code for Markdown, enclosed in more backticks than it contains in a row.

    >>> str(code_span("a_b")), str(code_span("`a`"))
    ('`a_b`', '`` `a` ``')
    """
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    return verbatim(f"{fence} {text} {fence}" if "`" in text else f"{fence}{text}{fence}")


def escape_markdown(text: object) -> str:
    """Text on one line, with Markdown markup, HTML, and table separators escaped.

    >>> escape_markdown("<b> a|b [x](y)")
    '&lt;b&gt; a\\\\|b \\\\[x\\\\](y)'
    """
    line = re.sub(r"\s+", " ", str(text)).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", line)


def embedded(file: Path) -> str:
    """A figure as a data URI in lossless WebP; a large figure in lossy WebP if that is smaller."""
    with Image.open(file) as picture:
        pixels = picture.convert("RGB")
        if pixels.width * pixels.height > MOST_PIXELS:
            shrink = (MOST_PIXELS / (pixels.width * pixels.height)) ** 0.5
            pixels = pixels.resize((round(pixels.width * shrink), round(pixels.height * shrink)))
    options = (True, False) if file.stat().st_size > DRAWN_AT_MOST else (True,)
    smallest = min((_webp(pixels, lossless) for lossless in options), key=len)
    return f"data:image/webp;base64,{base64.b64encode(smallest).decode()}"


def _webp(pixels: Image.Image, lossless: bool) -> bytes:
    out = io.BytesIO()
    pixels.save(out, "WEBP", lossless=lossless, quality=80, method=4)
    return out.getvalue()

"""How does what a page says become one self-contained HTML file, and Markdown for code hosts?"""

import base64
import io
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from bench.reports.glossary import GLOSSARY, METHODS, explained, meaning

DRAWN_AT_MOST = 40_000  # bytes of PNG; larger figures may show photographs
MOST_PIXELS = 9_000_000  # of a figure in the page; the file beside it has them all


def html(template: str, page: dict[str, Any]) -> str:
    """A page that loads nothing from anywhere: style, script, and figures are part of it."""
    environment = _environment(autoescape=True)
    environment.filters |= {"embedded": embedded, "explained": explained, "meaning": meaning}
    return environment.get_template(f"{template}.html.j2").render(page, glossary=GLOSSARY, methods=METHODS)


def markdown(template: str, page: dict[str, Any]) -> str:
    """The same page as Markdown; figures are files beside it."""
    environment = _environment(autoescape=False)
    environment.filters["md"] = escape_markdown
    text = environment.get_template(f"{template}.md.j2").render(page, glossary=GLOSSARY, methods=METHODS)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _environment(autoescape: bool) -> Environment:
    loader = PackageLoader("bench.reports", "templates")
    return Environment(
        loader=loader, autoescape=autoescape, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def escape_markdown(text: object) -> str:
    """Text that Markdown prints as it is, on one line: no markup, no HTML, no table separators.

    >>> escape_markdown("<b> a|b [x](y)")
    '&lt;b&gt; a\\\\|b \\\\[x\\\\](y)'
    """
    line = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", line)


def embedded(file: Path) -> str:
    """A figure as a data URI: WebP without loss; of a large one, with loss where that is smaller."""
    with Image.open(file) as picture:
        pixels = picture.convert("RGB")
        if pixels.width * pixels.height > MOST_PIXELS:
            shrink = (MOST_PIXELS / (pixels.width * pixels.height)) ** 0.5
            pixels = pixels.resize((round(pixels.width * shrink), round(pixels.height * shrink)))
    ways = (True, False) if file.stat().st_size > DRAWN_AT_MOST else (True,)
    smallest = min((_webp(pixels, lossless) for lossless in ways), key=len)
    return f"data:image/webp;base64,{base64.b64encode(smallest).decode()}"


def _webp(pixels: Image.Image, lossless: bool) -> bytes:
    out = io.BytesIO()
    pixels.save(out, "WEBP", lossless=lossless, quality=80, method=4)
    return out.getvalue()

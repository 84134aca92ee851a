"""
The README and the pages that ship with the package, taken apart: fenced blocks, code in a line, links, headings.

Separate from the tests, which say what must be true of each of these parts.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "airflow_provider_together"
README = ROOT / "README.md"
PAGES = (README, *sorted((PACKAGE / "docs").glob("*.md")))

_FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_CODE = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """
    A fenced block.

    :param line: of its fence.
    :param language: the first word of the fence.
    :param notes: the other words, each ``name="value"``.
    """

    page: Path
    line: int
    language: str
    notes: dict[str, str]
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(*languages: str) -> list[Block]:
    """Return the fenced blocks of all pages in these languages; all of them without one."""
    return [block for page in PAGES for block in _blocks(page) if not languages or block.language in languages]


def _blocks(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for fence in _FENCE.finditer(text):
        language, *notes = shlex.split(fence["info"]) or [""]
        line = text.count("\n", 0, fence.start()) + 1
        yield Block(page, line, language, dict(note.split("=", 1) for note in notes), fence["text"])


def prose(page: Path) -> str:
    """Return the page without its fenced blocks and comments; its lines keep their numbers."""

    def blank(found: re.Match[str]) -> str:
        return "\n" * found[0].count("\n")

    return _COMMENT.sub(blank, _FENCE.sub(blank, page.read_text()))


def codes(text: str) -> list[str]:
    """Return what is set as code within the lines of a text."""
    return [re.sub(r"\s+", " ", code) for code in _CODE.findall(text)]


def links(page: Path) -> list[str]:
    """Return the targets of the links of a page."""
    return _LINK.findall(_CODE.sub("", prose(page)))


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in _HEADING.findall(prose(page))}


def section(page: Path, heading: str) -> str:
    """Return what is below a heading, to the next one of the same level or above."""
    found = re.search(rf"^(#+) {re.escape(heading)}$", prose(page), re.MULTILINE)
    assert found, f"{page.name} has no heading {heading!r}"
    rest = prose(page)[found.end() :]
    return re.split(rf"^#{{1,{len(found[1])}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """Return the cells of the tables in a text, without their heads."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    is_rule = [set("".join(row)) <= set("-: ") for row in cells]
    return [
        row for number, row in enumerate(cells) if not is_rule[number] and not (is_rule[number + 1 :] or [False])[0]
    ]

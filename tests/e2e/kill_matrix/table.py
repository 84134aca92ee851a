"""
The kill matrix as the table in the evidence page, and the comparison of the two.

Separate, because it only turns values into text. It has no timings and the order of the rows, so that two runs that
observe the same write the same.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.e2e.kill_matrix.director import Observed
from tests.e2e.kill_matrix.row import Row

PAGE = Path(__file__).parents[3] / "airflow_provider_together" / "docs" / "evidence.md"
BEGIN = "<!-- kill matrix: begin -->"
END = "<!-- kill matrix: end -->"

_HEAD = "| what happens | clusters alive when Airflow has settled | after one sweep |\n|---|---|---|\n"


def table(rows: Sequence[Row], observed: Mapping[str, Observed]) -> str:
    """Return what was observed, as Markdown."""
    seen = [(row.sentence, observed[row.key]) for row in rows]
    return _HEAD + "".join(f"| {sentence} | {each.settled} | {each.swept} |\n" for sentence, each in seen)


def difference(markdown: str) -> str:
    """Return how the page's table differs from this one; empty if it does not."""
    _, written, _ = _parts()
    lines = difflib.unified_diff(written.splitlines(), markdown.splitlines(), PAGE.name, "observed", lineterm="", n=0)
    return "\n".join(lines)


def write(markdown: str) -> None:
    """Put a table into the page."""
    before, _, after = _parts()
    PAGE.write_text(f"{before}{BEGIN}\n{markdown}{END}{after}")


def _parts() -> tuple[str, str, str]:
    """Return the page before, between and after the markers."""
    text = PAGE.read_text()
    before, begin, rest = text.partition(f"{BEGIN}\n")
    between, end, after = rest.partition(END)
    if not begin or not end:
        message = f"{PAGE.name} has no lines {BEGIN!r} and {END!r}: the table belongs between them"
        raise ValueError(message)
    return before, between, after

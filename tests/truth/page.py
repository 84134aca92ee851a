"""What the rows came to, as a table in the evidence page, and the comparison of the two."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).parents[2] / "airflow_provider_together" / "docs" / "evidence.md"
BEGIN = "<!-- truth: begin -->\n"
END = "<!-- truth: end -->"
_HEAD = "| what happens | clusters made | left alive | the run |\n|---|---|---|---|\n"


class Table:
    """The rows in the order in which they were seen."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, sentence: str, *, made: int, alive: int, run: str) -> str:
        """Add what a row came to; return its line."""
        line = f"| {sentence} | {made} | {alive} | {run} |\n"
        self._lines.append(line)
        return line

    def write(self) -> None:
        """Put the table into the page."""
        before, _, rest = PAGE.read_text().partition(BEGIN)
        _, _, after = rest.partition(END)
        PAGE.write_text(f"{before}{BEGIN}{_HEAD}{''.join(self._lines)}{END}{after}")


def is_on_the_page(line: str) -> bool:
    """Whether the page has this line."""
    return line in PAGE.read_text().partition(BEGIN)[2].partition(END)[0].splitlines(keepends=True)


def sentences() -> list[str]:
    """Return what the lines of the page are about."""
    lines = PAGE.read_text().partition(BEGIN)[2].partition(END)[0].splitlines()
    return [line.split(" | ")[0].removeprefix("| ") for line in lines[2:]]

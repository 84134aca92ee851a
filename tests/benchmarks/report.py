"""
The tables at the end of a run, one for each subject, and what the others' figures are beside ours.

Ratios are what can be compared between machines: all figures of a table come from one run on one machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

Figure = float | str | None


@dataclass
class Subject:
    """
    One table.

    :param says: what its figures mean.
    :param baseline: the row that the others are compared with.
    :param compared: the columns to compare; of all of them less is better.
    """

    title: str
    says: str
    baseline: str
    compared: tuple[str, ...]
    rows: dict[str, Mapping[str, Figure]] = field(default_factory=dict)

    def add(self, row: str, figures: Mapping[str, Figure]) -> None:
        """Add a row."""
        self.rows[row] = figures

    def lines(self) -> Iterator[str]:
        """Return the table in Markdown, and the ratios."""
        columns = list(dict.fromkeys(column for figures in self.rows.values() for column in figures))
        yield from ("", f"## {self.title}", "", self.says, "")
        yield f"| | {' | '.join(columns)} |"
        yield f"|---|{'---:|' * len(columns)}"
        for row, figures in self.rows.items():
            yield f"| {row} | {' | '.join(_shown(figures.get(column)) for column in columns)} |"
        ratios = list(self._ratios())
        if ratios:
            yield ""
            yield from ratios

    def _ratios(self) -> Iterator[str]:
        ours = self.rows.get(self.baseline, {})
        for column in self.compared:
            parts = [
                f"{row} {_shown(theirs / least)} times"
                for row, figures in self.rows.items()
                if row != self.baseline
                and isinstance(least := ours.get(column), (int, float))
                and isinstance(theirs := figures.get(column), (int, float))
                and least > 0
            ]
            if parts:
                yield f"- {column}, beside {self.baseline}: {'; '.join(parts)}"


def _shown(figure: Figure) -> str:
    """Return three digits of a number: the fourth differs from run to run."""
    if figure is None:
        return ""
    if isinstance(figure, str):
        return figure
    if abs(figure) >= 1000 or figure == int(figure):
        return f"{figure:,.0f}"
    return f"{figure:.3g}"

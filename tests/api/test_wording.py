"""What others wrote forges no line, and a number goes with its noun."""

from __future__ import annotations

import pytest

from airflow_provider_together.api.wording import counted, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("größe-训练", "größe-训练"),
        ("全\u3000角 a\u00a0b", "全\u3000角 a\u00a0b"),
        ("\u0645\u06cc\u200c\u062e\u0648", "\u0645\u06cc\u200c\u062e\u0648"),
        ("\U0001f469\u200d\U0001f680", "\U0001f469\u200d\U0001f680"),
        ("a\u2028b\u200bc\x85", "a\ufffdb\ufffdc\ufffd"),
        ("a\nb\tc", "a\ufffdb\ufffdc"),
        ("\x1b[31mred", "\ufffd[31mred"),
        ("with\u202eeffect", "with\ufffdeffect"),
        ("", ""),
    ],
)
def test_other_peoples_names_forge_no_line_and_no_colours(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(("number", "told"), [(0, "0 clusters"), (1, "1 cluster"), (2, "2 clusters")])
def test_one_is_told_of_in_the_singular(number: int, told: str) -> None:
    assert counted(number, "cluster") == told

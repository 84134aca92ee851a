"""What a training has left, read by one rule."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_together.jobs.result import parse_result


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("", None),
        (" \n", None),
        ('{"loss": 0.5}', {"loss": 0.5}),
        ("7", 7),
        ("[-9223372036854775808, 18446744073709551615]", [-(2**63), 2**64 - 1]),
        ("null", None),
        ("done", "done"),
        ("{broken", "{broken"),
        ('"ü"', "ü"),
    ],
)
def test_a_result_is_the_value_where_it_is_json_and_else_the_text(text: str, result: Any) -> None:
    assert parse_result(text) == result


@pytest.mark.parametrize(
    "text",
    [
        '{"loss": NaN}',
        "[Infinity, -Infinity]",
        "1e999",
        '{"name": "\\ud800"}',
        "18446744073709551616",
        '{"seeds": [-9223372036854775809]}',
        "9" * 4300 + "9",
        "[" * 100_000,
    ],
)
def test_what_airflow_cannot_keep_stays_text(text: str) -> None:
    assert parse_result(text) == text
    assert json.loads(json.dumps(parse_result(text), allow_nan=False)) == text

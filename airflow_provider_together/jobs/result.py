"""
What a training has left as its result, read by one rule for Kubernetes and Slurm.

Pure: it knows neither of them, and no Airflow.
"""

from __future__ import annotations

import json
from typing import Any

#: The integers that Airflow's task processes send each other.
_INTEGERS = range(-(2**63), 2**64)


def parse_result(text: str) -> Any:
    r"""
    Return a result: the value where it is JSON, else the text; None for nothing.

    What Airflow cannot keep stays text: ``NaN`` and ``Infinity``, which Python writes and JSON lacks; half a character
    (``"\ud800"``); integers beyond 64 bits; numbers and depths that Python does not read.

    :param text: what the training has written.
    """
    if not text.strip():
        return None
    try:
        value = json.loads(text, parse_constant=_refuse_constant, parse_int=_parse_int)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return text
    return value


def _refuse_constant(word: str) -> None:
    raise ValueError(word)


def _parse_int(digits: str) -> int:
    value = int(digits)
    if value not in _INTEGERS:
        raise ValueError(digits)
    return value

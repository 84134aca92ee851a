"""
What a training has left as its result, read by one rule for Kubernetes and Slurm.

Pure: it knows neither of them, and no Airflow.
"""

from __future__ import annotations

import json
from typing import Any


def parse_result(text: str) -> Any:
    r"""
    Return a result: the value where it is JSON, else the text; None for nothing.

    What Airflow cannot keep stays text: ``NaN`` and ``Infinity``, which Python writes and JSON lacks; half a character
    (``"\ud800"``); numbers and depths that Python does not read.

    :param text: what the training has written.
    """
    if not text.strip():
        return None
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return text
    return value


def _refuse_constant(word: str) -> None:
    raise ValueError(word)

"""
What a value looks like that is not there: None, blank text, or the word that Jinja writes for a missing one.

It imports nothing of the package, so that specs, training jobs and operators can say the same of the same value.
"""

from __future__ import annotations

from typing import Any

#: Why a value that is missing is wrong, and what to do about it.
MISSING = (
    "there is no value in it; if it is a template or the output of another task, that rendered to nothing: "
    "check the task id, key or param that it names"
)


def is_missing(value: Any) -> bool:
    """Whether a value is None, a blank text, or the word ``None`` in any case, with or without blanks around it."""
    return value is None or (isinstance(value, str) and value.strip().lower() in {"", "none"})

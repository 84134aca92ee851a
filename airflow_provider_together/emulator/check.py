"""
Checks of request bodies: small functions that are put together into what a request may look like.

A check takes a field's path and the value that was sent, and returns the value as the emulator uses it, or
refuses it with a message that names the field, the value and what would be right. Written by hand and not from
an OpenAPI file, so that the tests which hold the emulator against the contracts prove something. It imports
only the refusals.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NoReturn

from airflow_provider_together.emulator.errors import InvalidRequestError

Check = Callable[[str, Any], Any]

MAX_INT32 = 2**31 - 1
MAX_UINT32 = 2**32 - 1
MAX_DAYS = 36_500
_SHOWN_CHARACTERS = 80
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
_FIRST_MOMENT = 0.0
_LAST_MOMENT = datetime(9000, 1, 1, tzinfo=UTC).timestamp()
_FRACTION = re.compile(r"(\.\d{1,6})\d*")


def text(*, is_blank_allowed: bool = False) -> Check:
    """Accept a string."""

    def check(field: str, value: Any) -> str:
        if not isinstance(value, str):
            _refuse(field, value, "give a string")
        # A lone surrogate is no Unicode text, and could not be sent back.
        if not value.isprintable() and any("\ud800" <= character <= "\udfff" for character in value):
            _refuse(field, value, "give valid Unicode")
        if not is_blank_allowed and not value.strip():
            _refuse(field, value, "give a string that is not blank")
        return value

    return check


def integer(*, minimum: int = 0, maximum: int = MAX_INT32, multiple_of: int = 1) -> Check:
    """Accept a whole number; ``8.0`` is one, as JSON has only one kind of number."""

    def check(field: str, value: Any) -> int:
        is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not is_whole:
            _refuse(field, value, "give a whole number")
        if not minimum <= value <= maximum:
            _refuse(field, value, f"give a whole number from {minimum} to {maximum}")
        if value % multiple_of:
            _refuse(field, value, f"give a multiple of {multiple_of}")
        return int(value)

    return check


def flag(field: str, value: Any) -> bool:
    """Accept true or false."""
    if not isinstance(value, bool):
        _refuse(field, value, "give true or false")
    return value


def word(*allowed: str) -> Check:
    """Accept one of some words. The zero words of an enum mean "not set" and are no wish: they are not named here."""

    def check(field: str, value: Any) -> str:
        if not isinstance(value, str) or value not in allowed:
            _refuse(field, value, f"use one of {', '.join(allowed)}")
        return value

    return check


def moment(field: str, value: Any) -> float:
    """Accept an RFC 3339 date-time; the result is in epoch seconds."""
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        _refuse(field, value, "give a date-time such as 2030-01-31T12:00:00Z")
    try:
        parsed = datetime.fromisoformat(_FRACTION.sub(r"\1", value.upper()))
    except ValueError:
        _refuse(field, value, "give a date and a time that exist")
    seconds = (parsed - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
    if not _FIRST_MOMENT <= seconds <= _LAST_MOMENT:
        _refuse(field, value, "give a date-time between the years 1970 and 9000")
    return seconds


def array(of: Check) -> Check:
    """Accept a list of such values."""

    def check(field: str, value: Any) -> list[Any]:
        if not isinstance(value, list):
            _refuse(field, value, "give a list")
        return [of(f"{field}[{index}]", item) for index, item in enumerate(value)]

    return check


def record(fields: Mapping[str, Check], *, required: Sequence[str] = ()) -> Check:
    """Accept an object with these fields and no other."""

    def check(field: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            _refuse(field or "the request body", value, "give a JSON object")
        prefix = f"{field}." if field else ""
        for name in value:
            if name not in fields:
                unknown = f"{prefix}{_shown(name)[1:-1]}"
                message = f"{unknown} is an unknown field; fields: {', '.join(fields)}"
                raise InvalidRequestError(message, param=unknown)
        for name in required:
            if value.get(name) is None:
                message = f"{prefix}{name} is missing: it is required"
                raise InvalidRequestError(message, param=f"{prefix}{name}")
        return {name: fields[name](f"{prefix}{name}", item) for name, item in value.items()}

    return check


def _shown(value: Any) -> str:
    shown = ascii(value)
    return shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[:_SHOWN_CHARACTERS]}…"


def _refuse(field: str, value: Any, remedy: str) -> NoReturn:
    message = f"{field}={_shown(value)} is wrong: {remedy}"
    raise InvalidRequestError(message, param=field)

"""
The button *Test* of a connection: one cheap read, and what to change if it fails.

Kept apart from the hook, which is imported by every DAG that uses it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_provider_together.api.client import Client
from airflow_provider_together.api.dialects import DIALECTS
from airflow_provider_together.exceptions import (
    AuthenticationError,
    MalformedAnswerError,
    NotFoundError,
    RequestRefusedError,
    TogetherError,
)

if TYPE_CHECKING:
    from airflow_provider_together.api.settings import Settings


def check(settings: Settings) -> tuple[bool, str]:
    """Read the regions once, and say what was reached, what to change, and what of the connection is not used."""
    is_good, message = _reach(settings)
    return is_good, f"{message} Attention: {settings.ignored}" if settings.ignored else message


def _reach(settings: Settings) -> tuple[bool, str]:
    try:
        with Client(settings) as client:
            regions = client.send(client.dialect.list_regions().once())
    except TogetherError as error:
        return False, f"{error}{_advice(settings, error)}"
    names = ", ".join(region.name for region in regions) or "none"
    count = f"{len(regions)} region{'' if len(regions) == 1 else 's'}"
    return True, f"Reached {settings.base_url}, api {settings.dialect!r}: {count} ({names})."


def _advice(settings: Settings, error: TogetherError) -> str:
    """Say that the host speaks the other dialect, if it does."""
    if not isinstance(error, (RequestRefusedError, MalformedAnswerError)) or isinstance(error, AuthenticationError):
        return ""
    for name in DIALECTS:
        if name != settings.dialect and _speaks(settings, name):
            return f" This host speaks the other dialect: set api={name!r} in the connection."
    if isinstance(error, NotFoundError):
        return " This host does not look like Together's API: check the connection's host."
    return ""


def _speaks(settings: Settings, dialect: str) -> bool:
    with Client(replace(settings, dialect=dialect)) as client:
        try:
            client.send(client.dialect.list_regions().once())
        except TogetherError:
            return False
    return True

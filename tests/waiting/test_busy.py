"""Sending a request until Together carries it out, driven by hand."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_together.api.dialects import Dialect
from airflow_provider_together.exceptions import (
    AuthenticationError,
    NotFoundError,
    OutcomeUnknownError,
    OutOfStockError,
    PermissionDeniedError,
    RequestRefusedError,
    ServerError,
    TogetherError,
    WaitTimeoutError,
)
from airflow_provider_together.waiting.busy import send_while_busy
from tests.support.driving import Script

DONE = object()
BILLED = "Volume v-1 is still billed."
BUSY = [
    RequestRefusedError("a volume is attached", status=400),
    RequestRefusedError("it is being resized", status=409),
    RequestRefusedError("it is locked", status=423),
    ServerError("503.", status=503),
]
FINAL = [
    AuthenticationError("no such key", status=401),
    PermissionDeniedError("no admin", status=403),
    NotFoundError("no such volume", status=404),
    OutOfStockError("none left"),
    OutcomeUnknownError("nobody knows"),
]


def sent(dialect: Dialect, *answers: Any) -> tuple[Script, Any]:
    script = Script(answers)
    call = dialect.delete_shared_volume("v-1")
    try:
        return script, script.drive(send_while_busy(call, timeout=600, poll_interval=10, billed=BILLED))
    except TogetherError as error:
        return script, error


@pytest.mark.parametrize("busy", BUSY, ids=str)
def test_it_is_sent_again_until_it_is_carried_out(dialect: Dialect, busy: TogetherError) -> None:
    script, end = sent(dialect, busy, busy, busy, DONE)
    assert end is DONE
    assert script.requests == ["DELETE"] * 4
    assert script.pauses == [10, 20, 40]


@pytest.mark.parametrize("busy", BUSY, ids=str)
def test_in_the_end_the_words_are_told_and_what_is_billed(dialect: Dialect, busy: TogetherError) -> None:
    script, end = sent(dialect, busy)
    assert isinstance(end, WaitTimeoutError)
    assert str(end) == f"The time for a request is over: delete shared volume v-1. {BILLED} {busy}"
    assert sum(script.pauses) == 600
    assert len(script.notes) == 1


def test_words_that_change_are_told(dialect: Dialect) -> None:
    script, _ = sent(dialect, BUSY[0], BUSY[0], BUSY[1], DONE)
    assert [note.message.split(" Trying")[0] for note in script.notes] == [str(BUSY[0]), str(BUSY[1])]


@pytest.mark.parametrize("final", FINAL, ids=str)
def test_what_waiting_cannot_change_is_told_at_once(dialect: Dialect, final: TogetherError) -> None:
    script, end = sent(dialect, final)
    assert end is final
    assert script.requests == ["DELETE"]

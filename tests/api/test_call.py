"""One request as a value."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_together.api.call import Call, Flow, Note, Pause, quoted
from airflow_provider_together.exceptions import SpecError
from tests.support.driving import Script
from tests.support.engine import FIXED, call_with


def test_a_call_for_somebody_who_polls_is_sent_once_and_else_the_same() -> None:
    call = call_with("DELETE", attempts=None)
    once = call.once()
    assert once.attempts == 1
    assert (once.method, once.path, once.is_repeatable, once.read) == ("DELETE", call.path, True, call.read)
    assert call.attempts is None


def test_a_flow_asks_for_the_result_of_a_call_and_for_the_time() -> None:
    call = call_with()

    def flow() -> Flow[tuple[Any, float]]:
        yield from Note("on it")
        result = yield from call
        now = yield from Pause(5)
        return result, now

    script = Script(["the result"], now=100)
    assert script.drive(flow()) == ("the result", 105)
    assert script.steps == [Note("on it"), call, Pause(5)]


def test_the_body_of_a_call_is_not_shown() -> None:
    call: Call[None] = Call(what="x", method="POST", path="/", read=lambda _: None, body={"secret": "canary"})
    assert "canary" not in repr(call)


@pytest.mark.parametrize("value", ["", "  ", ".", "..", None, 5])
def test_what_would_change_the_path_is_no_id(value: Any) -> None:
    with pytest.raises(SpecError, match="cluster_id="):
        quoted("cluster_id", value)


@FIXED
@given(st.text())
def test_an_id_is_one_segment_of_the_path_or_refused(value: str) -> None:
    try:
        segment = quoted("cluster_id", value)
    except SpecError:
        assert not value.strip() or value in {".", ".."}
    else:
        assert unquote(segment) == value
        assert not set(segment) & set("/?#")
        assert segment.isascii()

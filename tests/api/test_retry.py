"""
When a request is sent again, and after how long.

One table goes through :mod:`.answer` and :mod:`.retry` together: what happened on the wire, and for each method
whether the request is repeated and which error reaches the caller in the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenacity import Retrying

from airflow_provider_together.api.answer import HTTPAnswer, error_for_transport, read_answer
from airflow_provider_together.api.call import Call
from airflow_provider_together.api.retry import (
    FIRST_WAIT,
    LONGEST_RETRY_AFTER,
    LONGEST_WAIT,
    is_worth_repeating,
    retrying,
    wait_seconds,
)
from airflow_provider_together.exceptions import (
    AnswerLostError,
    AuthenticationError,
    ConfigurationError,
    MalformedAnswerError,
    NotFoundError,
    NotSentError,
    OutcomeUnknownError,
    OutOfStockError,
    PermissionDeniedError,
    RateLimitError,
    RequestRefusedError,
    ServerError,
    TogetherError,
)
from tests.support.engine import FIXED, TRANSPORT_ERRORS, answer_with, call_with, settings_with, subclasses_of

SETTINGS = settings_with(retries=2)
Happening = httpx.HTTPError | HTTPAnswer
OUT_OF_STOCK = {"error": {"message": "Out of stock"}}


@dataclass(frozen=True)
class Row:
    """
    One outcome.

    :param happened: what httpx raised or answered.
    :param error: what a caller of a repeatable request gets in the end.
    :param again: whether a repeatable request is repeated.
    :param create_error: what the caller of a create gets in the end; None for the same.
    :param create_again: whether a create is repeated.
    """

    happened: Happening
    error: type[TogetherError]
    again: bool
    create_error: type[TogetherError] | None = None
    create_again: bool = False


def unknown(happened: Happening, error: type[TogetherError]) -> Row:
    return Row(happened, error, again=True, create_error=OutcomeUnknownError)


def not_done(happened: Happening, error: type[TogetherError]) -> Row:
    return Row(happened, error, again=True, create_again=True)


def final(happened: Happening, error: type[TogetherError]) -> Row:
    return Row(happened, error, again=False)


TABLE = {
    "connection refused": not_done(httpx.ConnectError("[Errno 111] Connection refused"), NotSentError),
    "DNS": not_done(httpx.ConnectError("[Errno -2] Name or service not known"), NotSentError),
    "TLS": not_done(httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED]"), NotSentError),
    "connect timeout": not_done(httpx.ConnectTimeout("timed out"), NotSentError),
    "pool timeout": not_done(httpx.PoolTimeout("timed out"), NotSentError),
    "proxy refused": not_done(httpx.ProxyError("407 Proxy Authentication Required"), NotSentError),
    "429": not_done(answer_with(429, {}), RateLimitError),
    "read timeout": unknown(httpx.ReadTimeout("timed out"), AnswerLostError),
    "write timeout": unknown(httpx.WriteTimeout("timed out"), AnswerLostError),
    "read error": unknown(httpx.ReadError("reset"), AnswerLostError),
    "write error": unknown(httpx.WriteError("broken pipe"), AnswerLostError),
    "close error": unknown(httpx.CloseError("reset"), AnswerLostError),
    "remote protocol error": unknown(httpx.RemoteProtocolError("no response"), AnswerLostError),
    "decoding error": unknown(httpx.DecodingError("bad gzip"), MalformedAnswerError),
    "malformed JSON": unknown(answer_with(200, content=b'{"cluster_id": "c'), MalformedAnswerError),
    "HTML": unknown(answer_with(200, content=b"<html>"), MalformedAnswerError),
    "200 without an id": unknown(answer_with(200, {"status": "READY"}), MalformedAnswerError),
    "408": unknown(answer_with(408, {}), ServerError),
    "500": unknown(answer_with(500, {}), ServerError),
    "502": unknown(answer_with(502, {}), ServerError),
    "503": unknown(answer_with(503, {}), ServerError),
    "504": unknown(answer_with(504, {}), ServerError),
    "301": final(answer_with(301, location="https://elsewhere.invalid"), RequestRefusedError),
    "400": final(answer_with(400, {}), RequestRefusedError),
    "401": final(answer_with(401, {}), AuthenticationError),
    "403": final(answer_with(403, {}), PermissionDeniedError),
    "404": final(answer_with(404, {}), NotFoundError),
    "409 out of stock": final(answer_with(409, OUT_OF_STOCK), OutOfStockError),
    "409 other": final(answer_with(409, {"error": {"message": "conflict"}}), RequestRefusedError),
    "422": final(answer_with(422, {}), RequestRefusedError),
    "unusable URL": final(httpx.UnsupportedProtocol("ftp"), ConfigurationError),
    "unusable header": final(httpx.LocalProtocolError("Illegal header value"), ConfigurationError),
}


def sender_of(happened: Happening) -> Callable[[Call[Any]], Any]:
    """Return what the drivers do with a call, for one outcome that never changes."""

    def send(call: Call[Any]) -> Any:
        if isinstance(happened, httpx.HTTPError):
            raise error_for_transport(call, happened, SETTINGS)
        return read_answer(call, happened, SETTINGS)

    return send


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST"])
@pytest.mark.parametrize("outcome", TABLE)
def test_what_is_repeated_and_which_error_comes_out(outcome: str, method: str) -> None:
    row, call, pauses = TABLE[outcome], call_with(method), list[float]()
    is_create = method == "POST"
    with pytest.raises(TogetherError) as caught:
        Retrying(**retrying(call, retries=2, before_sleep=lambda _: None), sleep=pauses.append)(
            sender_of(row.happened), call
        )
    assert len(pauses) == (2 if (row.create_again if is_create else row.again) else 0)
    assert type(caught.value) is ((row.create_error or row.error) if is_create else row.error)


@pytest.mark.parametrize("kind", TRANSPORT_ERRORS)
def test_a_create_is_repeated_only_after_errors_that_prove_that_nothing_was_sent(
    kind: type[httpx.TransportError],
) -> None:
    proving = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
    error = error_for_transport(call_with("POST"), kind("it broke"), SETTINGS)
    assert is_worth_repeating(call_with("POST"), error) == issubclass(kind, proving)


def made(kind: type[TogetherError]) -> TogetherError:
    """Make an error of any kind."""
    needs_status = issubclass(kind, (RequestRefusedError, ServerError))
    error: TogetherError = kind("x", status=500) if needs_status else kind("x")  # type: ignore[call-arg]
    return error


ERRORS = sorted(set(subclasses_of(TogetherError)), key=lambda kind: kind.__name__)


@FIXED
@given(st.sampled_from(ERRORS), st.booleans(), st.sampled_from(["GET", "PUT", "DELETE", "POST"]))
def test_whether_to_repeat_depends_on_the_error_and_on_the_harm_only(
    kind: type[TogetherError], is_repeatable: bool, method: str
) -> None:
    decision = is_worth_repeating(call_with(method, is_repeatable=is_repeatable), made(kind))
    always, harmless = {NotSentError, RateLimitError}, {AnswerLostError, MalformedAnswerError, ServerError}
    assert decision == (kind in always or (kind in harmless and is_repeatable))


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("x"), TimeoutError(), httpx.ReadTimeout("x")])
def test_errors_that_are_not_ours_are_never_a_reason_to_repeat(error: BaseException) -> None:
    assert not is_worth_repeating(call_with(), error)


@pytest.mark.parametrize("retries", [0, 1, 5])
def test_a_call_is_tried_once_more_than_it_is_repeated(retries: int) -> None:
    pauses: list[float] = []
    with pytest.raises(NotSentError):
        Retrying(**retrying(call_with(), retries=retries, before_sleep=lambda _: None), sleep=pauses.append)(
            sender_of(httpx.ConnectError("refused")), call_with()
        )
    assert len(pauses) == retries


def test_a_call_of_somebody_who_polls_is_not_repeated_at_all() -> None:
    call = call_with().once()
    with pytest.raises(NotSentError):
        Retrying(**retrying(call, retries=5, before_sleep=lambda _: None), sleep=lambda _: pytest.fail("slept"))(
            sender_of(httpx.ConnectError("refused")), call
        )


@pytest.mark.parametrize(
    ("attempt", "least", "most"), [(1, 0.25, 0.5), (2, 0.5, 1.0), (5, 4.0, 8.0), (8, 15.0, 30.0), (10_000, 15.0, 30.0)]
)
def test_the_back_off_doubles_up_to_a_limit_and_half_of_it_is_left_to_chance(
    attempt: int, least: float, most: float
) -> None:
    assert wait_seconds(attempt, None, jitter=lambda: 0.0) == least
    assert wait_seconds(attempt, None, jitter=lambda: 1.0) == most


@pytest.mark.parametrize(
    ("asked", "waited"),
    [(7.0, 7.0), (0.0, 0.5), (0.1, 0.5), (1e9, LONGEST_RETRY_AFTER), (float("inf"), LONGEST_RETRY_AFTER)],
)
def test_a_server_that_asks_for_patience_gets_it_up_to_a_limit(asked: float, waited: float) -> None:
    assert wait_seconds(1, RateLimitError("x", retry_after=asked), jitter=lambda: 1.0) == waited


@pytest.mark.parametrize(
    ("header", "waits"),
    [
        ("7", [7.0]),
        ("999999999", [LONGEST_RETRY_AFTER]),
        ("Fri, 31 Dec 9999 23:59:59 GMT", [LONGEST_RETRY_AFTER]),
    ],
)
def test_retry_after_reaches_the_wait(header: str, waits: list[float]) -> None:
    pauses: list[float] = []
    with pytest.raises(RateLimitError):
        Retrying(**retrying(call_with(), retries=1, before_sleep=lambda _: None), sleep=pauses.append)(
            sender_of(answer_with(429, {}, retry_after=header)), call_with()
        )
    assert pauses == waits


@pytest.mark.parametrize("header", ["", "soon", "-1", "Thu, 01 Jan 1970 00:00:00 GMT", "9" * 500])
def test_garbage_in_retry_after_leaves_the_usual_wait(header: str) -> None:
    pauses: list[float] = []
    with pytest.raises(RateLimitError):
        Retrying(**retrying(call_with(), retries=1, before_sleep=lambda _: None), sleep=pauses.append)(
            sender_of(answer_with(429, {}, retry_after=header)), call_with()
        )
    assert FIRST_WAIT / 2 <= pauses[0] <= FIRST_WAIT


@FIXED
@given(st.integers(1, 10**6), st.none() | st.floats(0, 1e12), st.floats(0, 1))
def test_any_wait_is_positive_and_bounded(attempt: int, asked: float | None, chance: float) -> None:
    seconds = wait_seconds(attempt, ServerError("x", status=500, retry_after=asked), jitter=lambda: chance)
    assert FIRST_WAIT / 2 <= seconds <= max(LONGEST_WAIT, LONGEST_RETRY_AFTER)

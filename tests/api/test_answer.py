"""From what HTTP gave back to a result or to an error of ours, without I/O."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_together.api.answer import (
    HTTPAnswer,
    error_for_status,
    error_for_transport,
    read_answer,
    retry_after,
    scrubbed,
)
from airflow_provider_together.api.dialects import Dialect
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
    RequestRefusedError,
    ServerError,
    TogetherError,
)
from tests.support.engine import CANARY_KEY, FIXED, TRANSPORT_ERRORS, answer_with, call_with, json_values, settings_with

NOW = datetime(2026, 1, 31, 15, 30, tzinfo=UTC)
SETTINGS = settings_with(label="connection 'gpu'")


def error_of(status: int, body: Any = None, *, method: str = "GET", **changes: Any) -> TogetherError:
    return error_for_status(call_with(method), answer_with(status, body, **changes), SETTINGS)


def test_a_good_answer_is_read() -> None:
    assert read_answer(call_with(), answer_with(200, {"cluster_id": "c-9"}), SETTINGS).cluster_id == "c-9"


@pytest.mark.parametrize("content", [b"", b" \n"])
def test_an_empty_answer_says_nothing(content: bytes) -> None:
    with pytest.raises(MalformedAnswerError, match="not JSON"):
        read_answer(call_with(read=lambda body: body), answer_with(200, content=content), SETTINGS)


@pytest.mark.parametrize("content", [b"", b" \n"])
def test_an_empty_answer_to_what_was_asked_to_be_done_says_that_it_is(content: bytes, dialect: Dialect) -> None:
    assert read_answer(dialect.delete_cluster("c-1"), answer_with(204, content=content), SETTINGS) is None
    assert read_answer(dialect.delete_shared_volume("v-1"), answer_with(204, content=content), SETTINGS)


LINKS = ['<https://x/y?page=2>; rel="next"', "<y>; rel=next", '<a>; rel="prev", <b>; rel="last next"']


@pytest.mark.parametrize("link", LINKS)
def test_one_page_of_several_is_no_answer(link: str) -> None:
    with pytest.raises(MalformedAnswerError, match="one page of several"):
        read_answer(call_with(), answer_with(200, {"cluster_id": "c-1"}, link=link), SETTINGS)


@pytest.mark.parametrize("link", ["", '<https://x/next>; rel="prev"', '<y>; rel="nextish"'])
def test_other_links_do_not_matter(link: str) -> None:
    answer = answer_with(200, {"cluster_id": "c-1"}, link=link)
    assert read_answer(call_with(), answer, SETTINGS).cluster_id == "c-1"


def test_a_request_to_do_something_may_be_answered_by_any_good_status_but_a_part() -> None:
    post = call_with(method="POST")
    for status in (200, 201, 202, 204):
        assert read_answer(post, answer_with(status, {"cluster_id": "c-1"}), SETTINGS).cluster_id == "c-1"
    with pytest.raises(OutcomeUnknownError, match="only a part"):
        read_answer(post, answer_with(206, {"cluster_id": "c-1"}), SETTINGS)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"<html>", "not JSON (JSONDecodeError)"),
        (b'{"cluster_id": "c', "not JSON (JSONDecodeError)"),
        (b"\xff\xfe\xfa", "not JSON (UnicodeDecodeError)"),
        (b"9" * 5000, "not JSON (ValueError)"),
        (b"[" * 200_000, "nested too deeply"),
        (b"[]", "list, not an object"),
        (b"{}", "cluster_id missing or unreadable"),
    ],
)
def test_a_good_status_with_a_bad_body_says_what_is_wrong_with_it(content: bytes, why: str) -> None:
    with pytest.raises(MalformedAnswerError) as caught:
        read_answer(call_with(), answer_with(200, content=content, x_request_id="r-1"), SETTINGS)
    assert str(caught.value).startswith("do something (GET https://together.invalid/things/1) answered 200, but ")
    assert why in str(caught.value)
    assert "(request id r-1)" in str(caught.value)


def test_a_create_whose_answer_cannot_be_read_may_have_been_carried_out() -> None:
    with pytest.raises(OutcomeUnknownError, match="look before asking again") as caught:
        read_answer(call_with("POST"), answer_with(200, {}), SETTINGS)
    assert isinstance(caught.value.__cause__, MalformedAnswerError)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            {"error": {"message": "no such region", "param": "region", "code": "invalid"}},
            "no such region (param region, code invalid)",
        ),
        ({"error": {"message": "no", "param": None, "type": "invalid_request"}}, "no (code invalid_request)"),
        ({"error": {"code": "invalid_request"}}, "code invalid_request"),
        ({"error": "no such region"}, "no such region"),
        ({"code": 3, "message": "bad num_gpus", "details": []}, "bad num_gpus"),
        ({"message": "bad", "details": [{"detail": "num_gpus is 5"}, 5, {"other": 1}]}, "bad, num_gpus is 5"),
        ({"message": "bad", "details": "all of it"}, "bad"),
        ({"error": {"message": 5}}, '{"error": {"message": 5}}'),
        (["bad"], '["bad"]'),
        ("bad", '"bad"'),
    ],
)
def test_the_servers_words_are_read_from_either_body(body: Any, words: str) -> None:
    assert str(error_of(400, body)) == f"do something (GET https://together.invalid/things/1) answered 400: {words}"


def test_plain_text_is_repeated_in_one_line() -> None:
    assert str(error_of(400, content=b"upstream\n  said\tno\n")).endswith("answered 400: upstream said no")


def test_bytes_that_are_no_text_are_repeated_as_far_as_they_are() -> None:
    assert str(error_of(400, content=b"no \xff way")).endswith("400: no � way")


def test_a_silent_server_is_quoted_with_nothing() -> None:
    assert str(error_of(400, content=b"")) == "do something (GET https://together.invalid/things/1) answered 400"


def test_a_long_speech_is_cut() -> None:
    assert len(str(error_of(400, content=b"x" * 10_000))) < 600


def test_nesting_without_end_is_quoted_as_text() -> None:
    assert "answered 400: [[[[" in str(error_of(400, content=b"[" * 200_000))


@pytest.mark.parametrize("header", ["x-request-id", "X-API-Request-Id", "cf-ray"])
def test_a_message_names_the_request_id(header: str) -> None:
    said = HTTPAnswer(400, httpx.Headers({header: "r-17"}), b"no")
    assert str(error_for_status(call_with(), said, SETTINGS)).endswith("answered 400: no (request id r-17)")


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, RequestRefusedError), (401, AuthenticationError), (403, PermissionDeniedError), (404, NotFoundError)],
)
def test_a_refusal_carries_its_status(status: int, kind: type[RequestRefusedError]) -> None:
    error = error_of(status)
    assert type(error) is kind
    assert isinstance(error, RequestRefusedError)
    assert error.status == status


def test_a_wrong_key_names_the_connection_and_the_field() -> None:
    assert "API key of connection 'gpu': check its password field" in str(error_of(401))
    settings = settings_with(label="connection 'gpu'", key_place="the environment variable TOGETHER_API_KEY")
    error = error_for_status(call_with(), answer_with(401), settings)
    assert "API key of connection 'gpu': check the environment variable TOGETHER_API_KEY" in str(error)


def test_a_weak_key_names_the_connection_and_what_it_must_be_allowed() -> None:
    assert "connection 'gpu' may not do this: create, scale and delete need the key of an admin" in str(error_of(403))


@pytest.mark.parametrize("status", [500, 502, 503, 504, 599, 408])
def test_a_failed_server_carries_its_status_and_its_wish(status: int) -> None:
    error = error_of(status, retry_after="7")
    assert isinstance(error, ServerError)
    assert (error.status, error.retry_after) == (status, 7.0)


@pytest.mark.parametrize("words", ["Out of stock", "GPU type is OUT OF STOCK in us-central-8"])
def test_no_capacity_is_told_with_what_may_help(words: str) -> None:
    error = error_of(409, {"error": {"message": words}}, method="POST")
    assert isinstance(error, OutOfStockError)
    assert "another time, region, GPU type" in str(error)


def test_a_redirect_is_told_with_its_target_and_not_followed() -> None:
    error = error_of(301, content=b"", location="https://elsewhere.invalid/x?token=1")
    assert isinstance(error, RequestRefusedError)
    assert "It points to https://elsewhere.invalid/x; redirects are not followed" in str(error)
    assert "token" not in str(error)
    assert "points to nowhere;" in str(error_of(302, content=b""))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("0.5", 0.5),
        ("999999999", 999999999.0),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        ("Sat, 31 Jan 2026 16:31:00 +0100", 60.0),
        (format_datetime(NOW - timedelta(seconds=90), usegmt=True), None),
        (format_datetime(NOW, usegmt=True), None),
        ("Sat, 31 Jan 2026 15:31:00 -0000", 60.0),
        ("", None),
        ("-7", None),
        ("soon", None),
        ("1e9", None),
        ("\N{ARABIC-INDIC DIGIT SEVEN}", None),
        ("9" * 400, None),
        ("nan", None),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None),
        ("Mon, 01 Jan 2026 00:00:00 +99999999999999999", None),
        ("Mon, 99 Jan 2026 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_read_in_seconds_and_as_a_date(value: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": value}, now=NOW) == seconds


def test_without_retry_after_nothing_is_asked() -> None:
    assert retry_after({}, now=NOW) is None


@FIXED
@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d{1,25} (Jan|Dec) \d{1,25} \d{1,9}:\d\d:\d\d [+-]\d{1,20}"))
def test_any_retry_after_is_a_time_ahead_or_nothing(value: str) -> None:
    seconds = retry_after({"retry-after": value}, now=NOW)
    assert seconds is None or 0 <= seconds < float("inf")


def test_without_a_key_nothing_is_scrubbed() -> None:
    assert scrubbed("text", settings_with(api_key="")) == "text"


@pytest.mark.parametrize("where", ["body", "location", "x_request_id", "plain", "padded_request_id"])
@pytest.mark.parametrize("status", [200, 302, 400, 401, 409, 429, 500])
def test_a_server_that_repeats_the_key_does_not_bring_it_into_a_message(status: int, where: str) -> None:
    said = {
        "body": answer_with(status, {"error": {"message": f"bad key {CANARY_KEY}"}}),
        "plain": answer_with(status, content=f"{'x' * 490}{CANARY_KEY}".encode()),
        "location": answer_with(status, content=b"", location=f"https://x.invalid/{CANARY_KEY}?"),
        "x_request_id": answer_with(status, content=b"", x_request_id=CANARY_KEY),
        "padded_request_id": answer_with(status, content=b"", x_request_id="x" * 85 + CANARY_KEY),
    }[where]
    with pytest.raises(TogetherError) as caught:
        read_answer(call_with(), said, SETTINGS)
    assert CANARY_KEY[:12] not in f"{caught.value} {caught.value!r} {caught.value.__cause__}"


@FIXED
@given(
    st.integers(100, 999).filter(lambda status: not 200 <= status < 300),
    st.dictionaries(
        st.sampled_from(["retry-after", "location", "x-request-id", "cf-ray"]), st.text() | st.just(CANARY_KEY)
    ),
    st.binary() | st.just(CANARY_KEY.encode()) | st.text(max_size=20).map(lambda t: f"{t}{CANARY_KEY}".encode()),
    st.sampled_from(["GET", "POST"]),
)
def test_any_bad_answer_is_an_error_of_ours_that_can_be_logged(
    status: int, headers: dict[str, str], content: bytes, method: str
) -> None:
    error = error_for_status(call_with(method), HTTPAnswer(status, headers, content), SETTINGS)
    assert isinstance(error, TogetherError)
    assert CANARY_KEY not in str(error)
    assert str(error).startswith(f"do something ({method} https://together.invalid/things/1) answered {status}")


@FIXED
@given(json_values())
@example("half a pair: \ud800")
def test_any_words_can_be_written_to_a_log(body: Any) -> None:
    """A lone surrogate in an error would break the log, or Airflow's channel to its supervisor."""
    assert str(error_of(400, {"error": {"message": body}})).encode()


FORGED = "no\x1b[2J\nINFO all is well\u202e"
HARMLESS = "no\ufffd[2J INFO all is well\ufffd"


def test_what_a_server_wrote_forges_no_line() -> None:
    answered = error_of(400, {"error": {"message": FORGED}}, x_request_id="id\x1b[31m")
    assert str(answered).endswith(f"answered 400: {HARMLESS} (request id id\ufffd[31m)")
    assert "points to https://x\ufffd[2J;" in str(error_of(301, location="https://x\x1b[2J"))
    lost = error_for_transport(call_with(), httpx.ReadError(FORGED), SETTINGS)
    assert str(lost).endswith(f"failed: ReadError: {HARMLESS}")


@pytest.mark.parametrize("status", range(100, 600))
def test_each_status_but_a_whole_answer_is_an_error_of_ours(status: int) -> None:
    if status in {200, 203}:
        assert read_answer(call_with(), answer_with(status, {"cluster_id": "c-1"}), SETTINGS).cluster_id == "c-1"
    else:
        with pytest.raises(TogetherError, match=f"answered {status}"):
            read_answer(call_with(), answer_with(status, {"cluster_id": "c-1"}), SETTINGS)


#: Every error of httpx's transports with what it proves. Written out here, so that a new one fails this test.
NOT_SENT = {"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError"}
UNUSABLE = {"UnsupportedProtocol", "LocalProtocolError"}
LOST = {
    "TransportError",
    "TimeoutException",
    "ReadTimeout",
    "WriteTimeout",
    "NetworkError",
    "ReadError",
    "WriteError",
    "CloseError",
    "ProtocolError",
    "RemoteProtocolError",
}


def test_each_transport_error_of_httpx_is_classified() -> None:
    assert {kind.__name__ for kind in TRANSPORT_ERRORS} == NOT_SENT | UNUSABLE | LOST


@pytest.mark.parametrize("kind", TRANSPORT_ERRORS)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST"])
def test_a_create_counts_as_not_sent_only_where_that_is_proved(method: str, kind: type[httpx.TransportError]) -> None:
    error = error_for_transport(call_with(method), kind("it broke"), SETTINGS)
    expected: type[TogetherError]
    if kind.__name__ in NOT_SENT:
        expected = NotSentError
    elif kind.__name__ in UNUSABLE:
        expected = ConfigurationError
    else:
        expected = OutcomeUnknownError if method == "POST" else AnswerLostError
    assert type(error) is expected
    assert f"({method} https://together.invalid/things/1) failed: {kind.__name__}: it broke" in str(error)


def test_an_error_without_words_is_told_by_its_kind() -> None:
    error = error_for_transport(call_with(), httpx.ReadTimeout(""), SETTINGS)
    assert str(error).endswith("failed: ReadTimeout: ReadTimeout")


def test_a_wrong_setting_names_the_connection_and_the_proxy() -> None:
    error = error_for_transport(call_with(), httpx.UnsupportedProtocol("ftp"), SETTINGS)
    assert "Check the host of connection 'gpu' and the proxy variables" in str(error)
    assert isinstance(error_for_transport(call_with(), httpx.InvalidURL("x"), SETTINGS), ConfigurationError)


def test_a_body_that_cannot_be_decoded_is_a_malformed_answer() -> None:
    error = error_for_transport(call_with(), httpx.DecodingError("bad gzip"), SETTINGS)
    assert isinstance(error, MalformedAnswerError)


def test_a_key_in_the_words_of_a_transport_is_not_repeated() -> None:
    error = error_for_transport(
        call_with(), httpx.LocalProtocolError(f"Illegal header value b'Bearer {CANARY_KEY}'"), SETTINGS
    )
    assert CANARY_KEY not in str(error)

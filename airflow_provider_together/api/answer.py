"""
From what HTTP gave back to a result or an error of ours.

All judgement about answers is here, without I/O: what a status or a broken connection means for a
call, and what the error says. The API key never enters a message: the request's headers are not read, and
the server's words are searched for it.
"""

from __future__ import annotations

import email.utils
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import httpx

from airflow_provider_together.api.call import Call
from airflow_provider_together.api.settings import Settings
from airflow_provider_together.api.wording import as_sentence, printable
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

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class HTTPAnswer:
    """What came back: enough to judge it, and nothing of the request."""

    status: int
    headers: Mapping[str, str]
    content: bytes


#: Longest piece of a server's words that a message repeats, in characters.
_LONGEST_WORDS = 500
#: Statuses with which a GET is answered in full.
_WHOLE_ANSWERS = (httpx.codes.OK, httpx.codes.NON_AUTHORITATIVE_INFORMATION)
#: In a Link header (RFC 8288): another page follows.
_NEXT_PAGE = re.compile(r"""\brel\s*=\s*["']?[^"',;]*\bnext\b""", re.IGNORECASE)
_REQUEST_ID_HEADERS = ("x-request-id", "x-api-request-id", "cf-ray")

#: Errors of httpx that prove that no request reached the server. Everything else may have reached it.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
#: Errors of httpx that say that the URL or the proxy setting is wrong.
_UNUSABLE = (httpx.UnsupportedProtocol, httpx.InvalidURL, httpx.LocalProtocolError)


def read_answer(call: Call[T], response: HTTPAnswer, settings: Settings) -> T:
    """
    Return what the answer says.

    :raises TogetherError: as the status and the body demand.
    """
    if not httpx.codes.is_success(response.status):
        raise error_for_status(call, response, settings)
    if why := _incomplete(call, response):
        raise unreadable(call, response, why, settings)
    try:
        return call.read(call.decode(response.content))
    except ValueError as error:  # json's and the codecs' own errors
        why = f"it is not JSON ({type(error).__name__})"
    except MalformedAnswerError as error:
        why = str(error)
    except RecursionError:
        why = "it is nested too deeply"
    raise unreadable(call, response, why, settings)


def _incomplete(call: Call[Any], response: HTTPAnswer) -> str:
    """Return why a good status is not the whole answer; an empty text if it is."""
    if response.status == httpx.codes.PARTIAL_CONTENT:
        return "that is only a part of the answer"
    if call.method != "GET":
        return ""
    if response.status not in _WHOLE_ANSWERS:
        return "that status has no answer in it"
    if _NEXT_PAGE.search(response.headers.get("link", "")):
        # Neither of Together's APIs documents pages, so that nobody knows how to ask for the next one.
        return "it is one page of several (its Link header names a next one)"
    return ""


def unreadable(call: Call[Any], response: HTTPAnswer, why: str, settings: Settings) -> TogetherError:
    """Return the error for a good status with a body that cannot be read."""
    message = f"{_place(call, settings)} answered {response.status}, but {why}{_request_id(response.headers, settings)}"
    return _lost(call, MalformedAnswerError(message))


def error_for_status(call: Call[Any], response: HTTPAnswer, settings: Settings) -> TogetherError:
    """Return the error that a status stands for."""
    status = response.status
    said = _words(response, settings)
    message = f"{_place(call, settings)} answered {status}{said}{_request_id(response.headers, settings)}"
    if httpx.codes.is_redirect(status):
        target = scrubbed(response.headers.get("location", ""), settings).split("?")[0] or "nowhere"
        hint = f"It points to {target}; redirects are not followed with the API key. Set the connection's host."
        return RequestRefusedError(f"{message}. {hint}", status=status)
    wait = retry_after(response.headers, now=datetime.now(UTC))
    if status == httpx.codes.TOO_MANY_REQUESTS:
        return RateLimitError(message, retry_after=wait)
    if status == httpx.codes.CONFLICT and "stock" in said.lower():
        hint = "There is no such capacity now; another time, region, GPU type or number may have some."
        return OutOfStockError(f"{message}. {hint}", retry_after=wait)
    if status == httpx.codes.REQUEST_TIMEOUT or httpx.codes.is_server_error(status):
        return _lost(call, ServerError(message, status=status, retry_after=wait))
    kind, hint = _REFUSALS.get(status, (RequestRefusedError, ""))
    return kind(message + hint.format(label=settings.label, key_place=settings.key_place), status=status)


#: What kind of refusal a status is, and what to change about it.
_REFUSALS: dict[int, tuple[type[RequestRefusedError], str]] = {
    401: (AuthenticationError, ". Together does not know the API key of {label}: check {key_place}."),
    403: (
        PermissionDeniedError,
        ". The API key of {label} may not do this: create, scale and delete need the key of an admin of the project.",
    ),
    404: (NotFoundError, ""),
}


def error_for_transport(
    call: Call[Any], error: httpx.HTTPError | httpx.InvalidURL, settings: Settings
) -> TogetherError:
    """Return the error for a request that got no answer."""
    text = scrubbed(str(error) or type(error).__name__, settings)
    message = f"{_place(call, settings)} failed: {type(error).__name__}: {text}"
    if isinstance(error, _NOT_SENT):
        return NotSentError(message)
    if isinstance(error, _UNUSABLE):
        return ConfigurationError(f"{message}. Check the host of {settings.label} and the proxy variables.")
    if isinstance(error, httpx.DecodingError):
        return _lost(call, MalformedAnswerError(message))
    return _lost(call, AnswerLostError(message))


def retry_after(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """
    Return the seconds that a Retry-After header asks for, given in seconds or as a date.

    None if there is no header, or it cannot be read, or its time is past.
    """
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value, re.ASCII):
        return float(value)
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except (ValueError, OverflowError):  # a year or an offset beyond all numbers
        return None
    seconds = (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds()
    return seconds if seconds > 0 else None


def scrubbed(text: str, settings: Settings) -> str:
    """Return somebody else's text in one line, without the API key, written out or as Python shows it."""
    text = " ".join(text.split())
    for shown in {settings.api_key, repr(settings.api_key)[1:-1]} - {""}:
        text = text.replace(shown, "***")
    return printable(text)


def _lost(call: Call[Any], error: TogetherError) -> TogetherError:
    """Keep an error that a repetition mends; for a call that must not be repeated the outcome is unknown."""
    if call.is_repeatable:
        return error
    message = f"{as_sentence(error)} Whether it was carried out is unknown: look before asking again."
    unknown = OutcomeUnknownError(message)
    unknown.__cause__ = error
    return unknown


def _place(call: Call[Any], settings: Settings) -> str:
    return f"{call.what} ({call.method} {settings.base_url}{call.path})"


def _request_id(headers: Mapping[str, str], settings: Settings) -> str:
    for name in _REQUEST_ID_HEADERS:
        if value := headers.get(name):
            return f" (request id {scrubbed(value, settings)[:100]})"
    return ""


def _words(response: HTTPAnswer, settings: Settings) -> str:
    """Return the server's own words from either of Together's error bodies, or the text itself."""
    try:
        body = json.loads(response.content)
    except (ValueError, RecursionError):
        body = None
    said = scrubbed(_message_of(body) or response.content.decode("utf-8", "replace"), settings)
    if len(said) > _LONGEST_WORDS:
        said = f"{said[:_LONGEST_WORDS]}…"
    return f": {said}" if said else ""


def _message_of(body: Any) -> str:
    if not isinstance(body, dict):
        return ""
    error = body.get("error")
    if isinstance(error, dict):
        named = {"param": error.get("param"), "code": error.get("code") or error.get("type")}
        notes = _joined([f"{name} {value}" for name, value in named.items() if isinstance(value, str) and value])
        message = _joined([error.get("message")])
        return f"{message} ({notes})" if message and notes else message or notes
    if isinstance(error, str):
        return error
    details = body.get("details")
    described = [item.get("detail") for item in details if isinstance(item, dict)] if isinstance(details, list) else []
    return _joined([body.get("message"), *described])


def _joined(parts: list[Any]) -> str:
    return ", ".join(part for part in parts if isinstance(part, str) and part)

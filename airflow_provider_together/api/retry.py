"""
When a request is sent again, and after how long: one predicate, one set of arguments for tenacity.

A call is repeated if trying again helps and nothing can happen twice:

===========================================  ==================  ====================
outcome                                      GET, PUT, DELETE    POST that creates
===========================================  ==================  ====================
connection refused, DNS, TLS                 again               again
429                                          again               again
timeout, lost connection, unreadable body    again               unknown, never again
408, 500, 502, 503, 504 and other 5xx        again               unknown, never again
other statuses, out of stock                 no                  no
===========================================  ==================  ====================

The outcomes are told apart in :mod:`.answer`. It imports no driver and does no I/O.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from tenacity import RetryCallState, retry_if_exception, stop_after_attempt

from airflow_provider_together.api.backoff import doubled
from airflow_provider_together.api.call import Call
from airflow_provider_together.exceptions import (
    AnswerLostError,
    MalformedAnswerError,
    NotSentError,
    RateLimitError,
    ServerError,
)

#: Seconds before the first repetition; each further one waits twice as long, up to the longest.
FIRST_WAIT = 0.5
LONGEST_WAIT = 30.0
#: A server that asks for more than this is asked again after this, in seconds.
LONGEST_RETRY_AFTER = 120.0

_SAFE_FOR_ALL = (NotSentError, RateLimitError)
_SAFE_IF_REPEATABLE = (AnswerLostError, MalformedAnswerError, ServerError)


def is_worth_repeating(call: Call[Any], error: BaseException) -> bool:
    """Whether sending the call again may help and cannot do anything twice."""
    return isinstance(error, _SAFE_FOR_ALL) or (call.is_repeatable and isinstance(error, _SAFE_IF_REPEATABLE))


def wait_seconds(attempt: int, error: BaseException | None, *, jitter: Callable[[], float] = random.random) -> float:
    """
    Return how long to wait after an attempt.

    :param attempt: number of the attempt that failed, from 1.
    :param error: what it raised; a Retry-After in it is obeyed up to :data:`LONGEST_RETRY_AFTER`.
    :param jitter: a number from 0 to 1; half of the exponential delay is left to chance, so that many
        clients do not come back at the same moment.
    """
    ceiling = doubled(FIRST_WAIT, attempt=attempt, longest=LONGEST_WAIT)
    delay = ceiling / 2 + ceiling / 2 * jitter()
    asked = getattr(error, "retry_after", None)
    return delay if asked is None else max(min(asked, LONGEST_RETRY_AFTER), delay)


def retrying(call: Call[Any], *, retries: int, before_sleep: Callable[[RetryCallState], None]) -> dict[str, Any]:
    """Return the arguments with which either of tenacity's classes repeats this call."""
    attempts = retries + 1 if call.attempts is None else call.attempts
    return {
        "retry": retry_if_exception(lambda error: is_worth_repeating(call, error)),
        "stop": stop_after_attempt(attempts),
        "wait": _wait,
        "before_sleep": before_sleep,
        "reraise": True,
    }


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome is not None else None
    return wait_seconds(state.attempt_number, error)

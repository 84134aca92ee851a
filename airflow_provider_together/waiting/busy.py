"""Sending a request until it is carried out: a cluster or a volume may be in transition."""

from __future__ import annotations

from typing import TypeVar

from airflow_provider_together.api.call import Call, Flow, Note, Pause
from airflow_provider_together.api.wording import duration
from airflow_provider_together.exceptions import (
    NotFoundError,
    OutcomeUnknownError,
    OutOfStockError,
    TogetherError,
    WaitTimeoutError,
    is_refusal,
)
from airflow_provider_together.waiting.patience import back_off

T = TypeVar("T")


def send_while_busy(call: Call[T], *, timeout: float, poll_interval: float, billed: str) -> Flow[T]:
    """
    Send a request that may safely be repeated until it is carried out: a cluster or a volume may be in transition.

    :param timeout: seconds after which the last refusal counts.
    :param poll_interval: seconds between two requests.
    :param billed: a sentence that says what is billed as long as it is not carried out.
    :raises WaitTimeoutError: with Together's words, if it was not carried out in time.
    :raises TogetherError: at once, if waiting cannot help.
    """
    end = (yield from Pause(0)) + timeout
    told, failures = "", 0
    while True:
        try:
            return (yield from call.once())
        except (NotFoundError, OutOfStockError):
            raise
        except TogetherError as error:
            if is_refusal(error) or isinstance(error, OutcomeUnknownError):
                raise
            failures += 1
            left = end - (yield from Pause(0))
            if left <= 0:
                message = f"The time for a request is over: {call.what}. {billed} {error}"
                raise WaitTimeoutError(message) from error
            if str(error) != told:
                told = str(error)
                yield Note(f"{error} Trying again for {duration(left)} at the most.")
            yield from Pause(min(left, back_off(error, failures=failures, poll_interval=poll_interval)))

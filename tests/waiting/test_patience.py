"""Whole bad half-hours of a wait, in no time: only a verdict or the deadline ends it. Nothing is sent here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, repeat
from typing import Any

import pytest

from airflow_provider_together.exceptions import (
    AnswerLostError,
    AuthenticationError,
    MalformedAnswerError,
    NotFoundError,
    RateLimitError,
    ServerError,
    TogetherError,
)
from airflow_provider_together.waiting.patience import Look
from airflow_provider_together.waiting.ready import ReadyWait
from airflow_provider_together.waiting.verdict import Verdict
from tests.support.engine import cluster_with

START = 1_700_000_000.0
HALF_AN_HOUR = 1800.0
PENDING = cluster_with(status="QUEUED")
READY = cluster_with(status="READY")
NOT_FOUND = NotFoundError("no such cluster", status=404)
REFUSED = AuthenticationError("the key is not known", status=401)


def lived_through(seen: Callable[[float], Any], *, deadline: float | None = None) -> tuple[Look, float]:
    """
    Wait with what is seen at each second, and return the last look and its second.

    :param seen: what a look at that second since the start sees: a cluster, or an error.
    """
    wait = ReadyWait("c-1", started=START, deadline=deadline and START + deadline, poll_interval=15.0)
    second = 0.0
    while second < 24 * 3600:
        what = seen(second)
        now = START + second
        look = wait.on_error(what, now=now) if isinstance(what, TogetherError) else wait.on_cluster(what, now=now)
        if look.is_over:
            return look, second
        second += look.delay
    message = "the wait is not over after a day"
    raise AssertionError(message)


@pytest.mark.parametrize(
    "trouble",
    [
        ServerError("503", status=503),
        AnswerLostError("connection reset in the middle of the body"),
        MalformedAnswerError("<html>"),
        RateLimitError("429", retry_after=60.0),
    ],
    ids=lambda error: type(error).__name__,
)
def test_half_an_hour_of_trouble_fails_nothing(trouble: TogetherError) -> None:
    look, second = lived_through(
        lambda now: trouble if 60 < now < 60 + HALF_AN_HOUR else READY if now > 60 else PENDING
    )
    assert look.verdict is Verdict.READY
    assert second < 60 + HALF_AN_HOUR + 120


def test_troubles_that_take_turns_fail_nothing() -> None:
    turns: Iterator[Any] = chain.from_iterable(
        repeat([ServerError("503", status=503), NOT_FOUND, MalformedAnswerError("{"), PENDING, REFUSED], 200)
    )
    look, _ = lived_through(lambda now: next(turns) if now < HALF_AN_HOUR else READY)
    assert look.verdict is Verdict.READY


def test_a_cluster_that_is_missing_for_a_while_is_waited_for() -> None:
    """As from a server that has not heard of a new cluster yet."""
    look, _ = lived_through(lambda now: NOT_FOUND if now < 45 else READY)
    assert look.verdict is Verdict.READY


def test_a_cluster_that_stays_missing_is_gone_after_two_looks_some_time_apart() -> None:
    look, second = lived_through(lambda now: PENDING if now < 100 else NOT_FOUND)
    assert look.verdict is Verdict.GONE
    assert second >= 160


def test_words_that_nobody_knows_are_waited_for() -> None:
    look, _ = lived_through(lambda now: READY if now > HALF_AN_HOUR else cluster_with(status=f"NEW_WORD_{now % 7}"))
    assert look.verdict is Verdict.READY


def test_a_key_that_is_revoked_and_given_back_fails_nothing() -> None:
    look, _ = lived_through(lambda now: REFUSED if 100 < now < 350 else READY if now > 350 else PENDING)
    assert look.verdict is Verdict.READY


def test_a_key_that_stays_revoked_fails_the_wait_before_its_deadline() -> None:
    look, second = lived_through(lambda now: PENDING if now < 100 else REFUSED, deadline=7200)
    assert look.verdict is Verdict.REFUSED
    assert 300 < second < 600


@pytest.mark.parametrize("jump", [-7200.0, -1.0, 3000.0])
def test_a_clock_that_jumps_between_two_processes_ends_nothing_before_the_deadline(jump: float) -> None:
    """Inside a process the clock does not jump; a wait that was moved to another one meets that one's clock."""
    wait = ReadyWait("c-1", started=START, deadline=START + 3600, poll_interval=15.0)
    wait.on_error(NOT_FOUND, now=START + 15)
    wait.on_cluster(PENDING, now=START + 30)
    moved = ReadyWait("c-1", started=START, deadline=START + 3600, poll_interval=15.0)
    moved.recall(wait.memory())
    look = moved.on_error(NOT_FOUND, now=START + 45 + jump)
    assert look.verdict is Verdict.GO_ON
    assert 0 < look.delay <= 60


def test_trouble_without_end_ends_at_the_deadline() -> None:
    look, second = lived_through(lambda _: ServerError("503", status=503), deadline=HALF_AN_HOUR)
    assert look.verdict is Verdict.TIMED_OUT
    assert second == HALF_AN_HOUR

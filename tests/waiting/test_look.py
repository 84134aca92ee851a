"""Waiting for a cluster to be ready, driven by hand: the pace and the ends."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_together.api.call import Call
from airflow_provider_together.api.dialects import Dialect
from airflow_provider_together.exceptions import (
    NotFoundError,
    ServerError,
    SpecError,
)
from airflow_provider_together.waiting.look import look_once, wait_until_ready
from airflow_provider_together.waiting.patience import ABSENCE_SECONDS
from airflow_provider_together.waiting.ready import ReadyWait
from airflow_provider_together.waiting.verdict import Verdict
from tests.support.driving import Script
from tests.support.engine import cluster_with

NOT_FOUND = NotFoundError("no such cluster.", status=404)
BUSY = ServerError("503.", status=503)


def ready_wait(**changes: Any) -> ReadyWait:
    return ReadyWait("c-1", **{"started": 1000.0, "deadline": 4600.0, "poll_interval": 15.0, **changes})


def test_waiting_looks_at_the_given_pace_until_the_cluster_is_ready(dialect: Dialect) -> None:
    script = Script([cluster_with(status="QUEUED"), cluster_with(status="QUEUED"), cluster_with()])
    assert script.drive(wait_until_ready(dialect, ready_wait())).verdict is Verdict.READY
    assert script.shape == ["GET", "Note", "GET", "GET", "Note"]
    assert script.pauses == [15, 15]


def test_each_look_of_a_wait_is_sent_once_since_it_is_repeated_anyway(dialect: Dialect) -> None:
    script = Script([cluster_with()])
    script.drive(wait_until_ready(dialect, ready_wait()))
    assert [step.attempts for step in script.steps if isinstance(step, Call)] == [1]


def test_waiting_survives_faults_and_ends_at_the_deadline(dialect: Dialect) -> None:
    script = Script([BUSY, NOT_FOUND, BUSY])
    assert script.drive(wait_until_ready(dialect, ready_wait())).verdict is Verdict.TIMED_OUT
    assert script.now == 4600


def test_waiting_for_a_blank_id_is_an_error_at_once(dialect: Dialect) -> None:
    wait = ReadyWait("", started=1000.0, deadline=4600.0)
    with pytest.raises(SpecError):
        Script([BUSY]).drive(wait_until_ready(dialect, wait))


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [(cluster_with(status="QUEUED"), Verdict.GO_ON), (cluster_with(), Verdict.READY), (BUSY, Verdict.GO_ON)],
)
def test_one_look_is_one_request(dialect: Dialect, answer: Any, verdict: Verdict) -> None:
    script = Script([answer])
    assert script.drive(look_once(dialect, ready_wait())).verdict is verdict
    assert (script.requests, script.pauses) == (["GET"], [])


@pytest.mark.parametrize("poll_interval", [1.0, 15.0, 3600.0])
def test_one_look_settles_an_absence_within_its_time(dialect: Dialect, poll_interval: float) -> None:
    script = Script([NOT_FOUND])
    wait = ready_wait(deadline=None, poll_interval=poll_interval)
    assert script.drive(look_once(dialect, wait)).verdict is Verdict.GONE
    assert sum(script.pauses) <= ABSENCE_SECONDS


def test_one_look_that_finds_a_lost_cluster_again_goes_on(dialect: Dialect) -> None:
    script = Script([NOT_FOUND, cluster_with(status="QUEUED")])
    assert script.drive(look_once(dialect, ready_wait())).verdict is Verdict.GO_ON

"""
The life of a task that owns something paid, proved once for clusters, jobs and batch jobs.

The resource is a counter here; that each of the three is given back for real is proved where it is at home.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_together.exceptions import TransientError
from airflow_provider_together.operators.base import TaskKilledError
from airflow_provider_together.operators.owned_resource import OwnedResourceOperator
from airflow_provider_together.runtime.compat.versions import (
    AirflowException,
    AirflowTaskTimeout,
    TaskDeferralError,
    TaskDeferralTimeout,
)

CONTEXT: Any = {}


class Deferred(BaseException):
    """Stands for Airflow's own, which is no error either."""


class Resource:
    """
    A running task that owns one thing.

    :param during: what happens while it is waited for.
    :param fate: what became of the thing of an earlier part of the task; an error if that cannot be found out.
    """

    what = "the thing"

    def __init__(self, during: Callable[[], object] = bool, fate: str | Exception = "") -> None:
        self.owns = False
        self.during = during
        self.fate = fate
        self.released: list[str] = []

    def start(self) -> str:
        self.owns = True
        self.during()
        self.owns = False
        return "done"

    def conclude(self, event: Any) -> str:
        self.owns = True
        self.during()
        self.owns = False
        return f"done with {event}"

    def release_known(self) -> str:
        if isinstance(self.fate, Exception):
            raise self.fate
        return self.fate

    def release_killed(self, *, is_urgent: bool) -> None:
        if self.owns:
            self.released.append("at once" if is_urgent else "afterwards")
        self.owns = False


class Owning(OwnedResourceOperator):
    """An operator whose running task is the given one."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.resource = Resource()

    def begin(self, context: Any) -> Resource:
        del context
        return self.resource


@pytest.fixture
def operator() -> Owning:
    with DAG("owning", schedule=None):
        return Owning(task_id="own")


def raising(error: BaseException) -> Callable[[], object]:
    def fail() -> None:
        raise error

    return fail


def test_what_ends_well_is_not_given_back(operator: Owning) -> None:
    assert operator.execute(CONTEXT) == "done"
    assert operator.execute_complete(CONTEXT, "event") == "done with event"
    assert operator.resource.released == []


def test_a_signal_that_strikes_while_airflow_is_asked_is_caught_up_on(operator: Owning) -> None:
    operator.resource.during = operator.on_kill
    with pytest.raises(TaskKilledError):
        start_and_stay(operator)
    assert operator.resource.released == ["afterwards"]


def start_and_stay(operator: Owning) -> None:
    """Start, and still own the thing when the method ends."""
    resource, start = operator.resource, operator.resource.start

    def start_only() -> str:
        result = start()
        resource.owns = True
        return result

    operator.resource.start = start_only  # type: ignore[method-assign]
    operator.execute(CONTEXT)


def test_a_signal_that_strikes_elsewhere_gives_back_at_once(operator: Owning) -> None:
    def be_killed() -> None:
        with operator.asking_airflow(is_asking=False):
            operator.on_kill()
        operator.raise_if_killed()

    operator.resource.during = be_killed
    with pytest.raises(TaskKilledError):
        operator.execute(CONTEXT)
    assert operator.resource.released == ["at once"]


@pytest.mark.parametrize("method", ["execute", "execute_complete"])
def test_a_signal_on_the_way_to_a_deferral_gives_back(operator: Owning, method: str) -> None:
    def defer_killed() -> None:
        operator.on_kill()
        raise Deferred

    operator.resource.during = defer_killed
    with pytest.raises(TaskKilledError):
        getattr(operator, method)(CONTEXT)
    assert operator.resource.released == ["afterwards"]


def test_a_deferral_keeps_what_is_owned(operator: Owning) -> None:
    operator.resource.during = raising(Deferred())
    with pytest.raises(Deferred):
        operator.execute(CONTEXT)
    assert operator.resource.released == []


def test_a_timeout_gives_back(operator: Owning) -> None:
    operator.resource.during = raising(AirflowTaskTimeout("too long"))
    with pytest.raises(AirflowTaskTimeout):
        operator.execute(CONTEXT)
    assert operator.resource.released == ["afterwards"]


def test_a_failure_is_for_the_running_task_to_settle(operator: Owning) -> None:
    operator.resource.during = raising(AirflowException("lost"))
    with pytest.raises(AirflowException, match="lost"):
        operator.execute(CONTEXT)
    assert operator.resource.released == []


def test_a_signal_after_the_end_comes_too_late(operator: Owning) -> None:
    operator.execute(CONTEXT)
    operator.on_kill()
    assert operator.resource.released == []


def test_a_signal_after_success_leaves_alive_what_others_use_by_then(operator: Owning) -> None:
    start_and_stay(operator)
    operator.on_kill()
    assert operator.resource.released == []


def test_a_signal_before_anything_was_begun_gives_back_nothing(operator: Owning) -> None:
    operator.on_kill()
    assert operator.resource.released == []


@pytest.mark.parametrize("error", [TaskDeferralTimeout("too long"), TaskDeferralError("broken")], ids=["time", "error"])
@pytest.mark.parametrize(("fate", "told"), [("It is gone.", "It is gone."), (TransientError("503."), "503.")])
def test_a_wait_that_airflow_ends_without_an_event_gives_back_and_says_so(
    operator: Owning, monkeypatch: pytest.MonkeyPatch, error: Exception, fate: str | Exception, told: str
) -> None:
    operator.resource.fate = fate
    monkeypatch.setattr(Owning, "execute_complete", lambda *_, **__: raising(error)())
    with pytest.raises(AirflowException, match=rf"ended the wait for the thing: {error}\. {told}"):
        operator.resume_execution("execute_complete", None, CONTEXT)


def test_a_wait_that_airflow_ends_where_nothing_was_owned_fails_as_airflow_says(
    operator: Owning, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Owning, "execute_complete", lambda *_, **__: raising(TaskDeferralTimeout("too long"))())
    with pytest.raises(TaskDeferralTimeout, match="too long"):
        operator.resume_execution("execute_complete", None, CONTEXT)

"""
The life of a task that owns something which costs money: a cluster, a job, a batch job.

Airflow ends a task in many ways: by a signal, whose handler calls ``on_kill`` and then lets the method go on; by a
timeout; by ending a deferral without an event. What happens then is said here, once; what the resource is, and how it
is given back, is for the running task to say, which is imported when it runs.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_together.exceptions import TogetherError
from airflow_provider_together.operators.base import TaskKilledError, TogetherOperator
from airflow_provider_together.runtime.compat.versions import (
    AirflowException,
    AirflowTaskTimeout,
    TaskDeferralError,
    TaskDeferralTimeout,
)
from airflow_provider_together.runtime.failures import task_failures

if TYPE_CHECKING:
    from airflow.sdk import Context


class OwningTask(Protocol):
    """One part of a task's life in a worker: from ``execute`` to its end or the deferral, or from that to the end."""

    @property
    def what(self) -> str:
        """What it is that the task owns, in words for messages: ``the job``."""

    @property
    def owns(self) -> bool:
        """Whether there may be a resource that a kill has to give back."""

    def start(self) -> Any:
        """
        Make the resource, or adopt the one of an earlier try, and wait for it, unless the triggerer does.

        :returns: what the task returns.
        """

    def conclude(self, event: Any) -> Any:
        """
        Go on after the triggerer has waited.

        :param event: what its trigger has fired.
        :returns: what the task returns.
        """

    def release_known(self) -> str:
        """Give back what an earlier part of the task owned; return a sentence on the outcome, empty without one."""

    def release_killed(self, *, is_urgent: bool) -> None:
        """
        Give back the resource of a try that was killed, once, unless the task goes on without that try.

        It never raises for a refusal: from inside a signal handler that would strike the task at any line.

        :param is_urgent: whether this runs inside a signal handler: Airflow kills for good 5 s after the signal.
        """


class OwnedResourceOperator(TogetherOperator):
    """Base of operators whose task owns what costs money."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._owner: OwningTask | None = None

    @abstractmethod
    def begin(self, context: Context) -> OwningTask:
        """Return what does the work; only here is it imported, since DAG files import the operators."""

    def execute(self, context: Context) -> Any:
        """Make the resource, or adopt the one of an earlier try; wait for it."""
        with task_failures(), self.asking_airflow(is_asking=True):
            self.check_rendered_parameters()  # all, before one that is read late finds something already made
            with self._owning(context) as task:
                return task.start()

    def execute_complete(self, context: Context, event: Any = None) -> Any:
        """Go on after the triggerer has waited."""
        with task_failures(), self.asking_airflow(is_asking=True), self._owning(context) as task:
            return task.conclude(event)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Give the resource back also when Airflow ends the wait without an event: its timeout, a broken trigger."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except (TaskDeferralTimeout, TaskDeferralError) as error:
            with self.asking_airflow(is_asking=True), self._owning(context) as task:
                try:
                    fate = task.release_known()
                except TogetherError as failure:  # a retry may find out more
                    fate = str(failure)
            if not fate:
                raise
            message = f"Airflow has ended the wait for {task.what}: {error}. {fate}"
            raise AirflowException(message) from None

    def on_kill(self) -> None:
        """
        Give the resource back, within the few seconds that Airflow grants.

        It runs inside a signal handler, or after ``execute`` has timed out. Where a signal has struck while Airflow
        was asked something, the method that was interrupted catches up as soon as the answer is there.
        """
        super().on_kill()
        if self._owner is not None and not self._is_asking_airflow:
            self._owner.release_killed(is_urgent=True)

    @contextmanager
    def _owning(self, context: Context) -> Iterator[OwningTask]:
        """
        Lend what does the work, and catch up on a kill, also on the way to a deferral.

        :raises TaskKilledError: if there was one, and what is owned was not concluded yet.
        """
        self._owner = task = self.begin(context)
        try:
            yield task
        except AirflowTaskTimeout:
            task.release_killed(is_urgent=False)  # unless on_kill has done it
            raise
        finally:
            if task.owns:
                try:
                    self.raise_if_killed()
                except TaskKilledError:
                    task.release_killed(is_urgent=False)
                    raise
        # All is well, and what is owned is for others to use. Airflow kills a task also when its callbacks take too
        # long after that.
        self._owner = None

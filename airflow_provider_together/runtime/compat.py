"""
What differs between the Airflow versions that we support (3.1 and later), in one place.

Everything that 3.3 brought is used where it exists; where it does not, the callers get a value that
lets them go on without it. No other module asks for a version.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from airflow import __version__
from airflow.sdk import BaseHook, Variable
from airflow.sdk.exceptions import AirflowRuntimeError

try:
    from airflow.sdk.configuration import conf
    from airflow.sdk.exceptions import (
        AirflowException,
        AirflowFailException,
        AirflowNotFoundException,
        AirflowSensorTimeout,
        AirflowSkipException,
        AirflowTaskTimeout,
        TaskDeferralError,
        TaskDeferralTimeout,
    )
except ImportError:  # before 3.2
    from airflow.configuration import conf
    from airflow.exceptions import (  # type: ignore[no-redef,attr-defined,unused-ignore]
        AirflowException,
        AirflowFailException,
        AirflowNotFoundException,
        AirflowSensorTimeout,
        AirflowSkipException,
        AirflowTaskTimeout,
        TaskDeferralError,
        TaskDeferralTimeout,
    )

if TYPE_CHECKING:
    from airflow.sdk import Connection, Context
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
    from airflow.triggers.base import BaseTrigger

__all__ = [
    "OVER",
    "TRIGGERS_HAVE_ON_KILL",
    "AirflowException",
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowRuntimeError",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "AirflowTaskTimeout",
    "StateStore",
    "TaskDeferralError",
    "TaskDeferralTimeout",
    "Variables",
    "aget_connection",
    "conf",
    "get_connection",
    "goes_on_without",
    "has_database",
    "has_state_store",
    "is_task_over",
    "run_state",
    "state_store",
    "task_states",
    "variables",
]

A = TypeVar("A")
T = TypeVar("T")

#: Since 3.3 the triggerer calls a trigger's ``on_kill`` when a user ends its task; before, nobody says why a
#: trigger is cancelled. The class itself is not asked: importing it costs a DAG more than all the rest of this module.
TRIGGERS_HAVE_ON_KILL = tuple(map(int, __version__.split(".")[:2])) >= (3, 3)

_NOT_FOUND = 404
#: States of a task instance from which it does not come back by itself. A row that is no more counts as well.
OVER = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})


class StateStore(Protocol):
    """A task's own storage: it survives retry, SIGKILL and clear, and only that task reads it."""

    def get(self, key: str, default: Any = None) -> Any:
        """Return the JSON value of the key, or the default."""
        ...

    def set(self, key: str, value: Any) -> None:
        """Store a JSON value."""
        ...


class _NoStore:
    def get(self, key: str, default: Any = None) -> Any:  # noqa: ARG002 - same signature as the real one
        return default

    def set(self, key: str, value: Any) -> None:
        """Forget it: before 3.3 a task has no storage of its own."""


def state_store(context: Context) -> StateStore:
    """Return the task's storage; before 3.3 one that forgets."""
    store = cast("dict[str, Any]", context).get("task_state_store")
    return _NoStore() if store is None else cast("StateStore", store)


def has_state_store(context: Context) -> bool:
    """Whether the task has a storage that keeps what it is given."""
    return not isinstance(state_store(context), _NoStore)


class Variables(Protocol):
    """The Airflow variables, which all processes of one deployment share."""

    def get(self, key: str) -> str | None:
        """Return a variable; None if there is none."""
        ...

    def set(self, key: str, value: str, *, description: str) -> None:
        """Store a variable, whether it existed or not."""
        ...

    def delete(self, key: str) -> None:
        """Remove a variable, if it exists."""
        ...


class _TaskVariables:
    """Through the API that a task has."""

    def get(self, key: str) -> str | None:
        return cast("str | None", Variable.get(key, default=None))

    def set(self, key: str, value: str, *, description: str) -> None:
        Variable.set(key, value, description=description)

    def delete(self, key: str) -> None:
        Variable.delete(key)


def variables() -> Variables | None:
    """Return Airflow's variables; None where no Airflow runs: neither in a task nor in a command of Airflow's."""
    if _is_in_task():
        return _TaskVariables()
    if os.environ.get("_AIRFLOW_PROCESS_CONTEXT") != "server":
        return None
    from airflow_provider_together.runtime.metadata_database import DatabaseVariables  # noqa: PLC0415 - brings models

    return DatabaseVariables()


def _is_in_task() -> bool:
    # As Airflow's own models find it out.
    return hasattr(sys.modules.get("airflow.sdk.execution_time.task_runner"), "SUPERVISOR_COMMS")


def has_database() -> bool:
    """Whether the metadata database of an Airflow answers to a command."""
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - comes with Airflow

    try:
        run_state("", "")
    except SQLAlchemyError:
        return False
    return True


def run_state(dag_id: str, run_id: str) -> str | None:
    """
    Return the state of a DAG run; None if there is no such run, or no such DAG any more.

    It asks whoever answers here: the API that a task has, or the metadata database.
    """
    if _is_in_task():
        task_instances = _task_instances()
        if not task_instances.get_dr_count(dag_id, run_ids=[run_id]):
            return None
        return _word(task_instances.get_dagrun_state(dag_id, run_id))
    from airflow_provider_together.runtime.metadata_database import stored_run_state  # noqa: PLC0415 - brings models

    state = stored_run_state(dag_id, run_id)
    return None if state is None else _word(state)


def _task_instances() -> type[RuntimeTaskInstance]:
    """Return what asks the API that a task has, and a triggerer."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance  # noqa: PLC0415 - only a task has it

    return RuntimeTaskInstance


def _word(state: Any) -> str:
    return str(getattr(state, "value", state))  # some versions answer with a member of an enumeration


def get_connection(conn_id: str) -> Connection:
    """
    Return a connection.

    Outside of a task 3.1 has nobody to ask for one that no variable and no secrets backend defines, and stumbles
    over its own import instead of saying so.

    :raises AirflowNotFoundException: if there is none.
    """
    try:
        return BaseHook.get_connection(conn_id)
    except ImportError as error:
        if error.name != "airflow.sdk.execution_time.task_runner":
            raise
        message = f"The conn_id `{conn_id}` isn't defined"
        raise AirflowNotFoundException(message) from None


async def aget_connection(conn_id: str) -> Connection:
    """
    Return a connection without blocking the event loop.

    The async look-up of 3.1 works in the triggerer only, so that there the sync one runs beside the loop.

    :raises AirflowNotFoundException: if there is none.
    """
    if TRIGGERS_HAVE_ON_KILL:
        return await BaseHook.aget_connection(conn_id)
    return await _beside_the_loop(get_connection, conn_id)


async def _beside_the_loop(ask: Callable[[A], T], about: A) -> T:
    """Call what blocks without blocking the event loop, as Airflow itself does it."""
    from asgiref.sync import sync_to_async  # noqa: PLC0415 - for a triggerer only

    return await sync_to_async(ask)(about)


async def is_task_over(trigger: BaseTrigger) -> bool:
    """
    Whether the task that deferred to this trigger has ended for good.

    The triggerer cancels triggers also when it moves them to another triggerer, and calls ``on_kill`` after a
    clear whose new attempt runs already: only the task's state tells these apart. The call is a blocking one,
    answered by the triggerer's supervisor; asgiref brings it back to this event loop, while a plain thread would
    read the supervisor's answers to others, which ends the whole triggerer on 3.1.
    """
    instance = trigger.task_instance
    if instance is None:
        return False
    state = await _beside_the_loop(_task_state, instance)
    return state in OVER


def goes_on_without(ti: Any) -> bool:
    """
    Whether the task goes on without this try of it: it was cleared, or another try was begun meanwhile.

    Airflow ends a try for many reasons and tells none of them. A try that was replaced is not known any more by
    its id, which one cheap read alone asks for on all versions.

    :param ti: the running task instance.
    :raises AirflowRuntimeError: if Airflow does not answer.
    """
    if not _is_in_task():
        return False
    from airflow.sdk.execution_time import comms, task_runner  # noqa: PLC0415 - only in a task

    try:
        task_runner.SUPERVISOR_COMMS.send(comms.ValidateInletsAndOutlets(ti_id=ti.id))
    except AirflowRuntimeError as error:
        if (error.error.detail or {}).get("status_code") == _NOT_FOUND:
            return True
        raise
    # A try that runs, of which nobody has said that it shall end, was ended from outside: its worker stops.
    return _task_state(ti) not in {*OVER, "running"}


def _task_state(ti: Any) -> str | None:
    """Ask Airflow for the state of a task instance; one that is no more is ``removed``."""
    map_index = -1 if ti.map_index is None else ti.map_index
    key = ti.task_id if map_index < 0 else f"{ti.task_id}_{map_index}"
    return task_states(ti, [ti.task_id], map_index=map_index).get(key, "removed")


def task_states(ti: Any, task_ids: list[str], *, map_index: int | None = None) -> dict[str, str | None]:
    """
    Ask Airflow for the states of task instances of a DAG run.

    :param ti: one of that run; it has to run itself, in a worker or in a triggerer.
    :param map_index: of those that are asked for; None for all.
    :returns: by task id; that of a mapped instance is followed by ``_`` and its index. None is a task that has not
        been scheduled yet.
    :raises AirflowRuntimeError: if Airflow does not answer.
    """
    states = _task_instances().get_task_states(
        dag_id=ti.dag_id, task_ids=task_ids, run_ids=[ti.run_id], map_index=map_index
    )
    found = states.get(ti.run_id, {})
    return {name: None if state is None else _word(state) for name, state in found.items()}

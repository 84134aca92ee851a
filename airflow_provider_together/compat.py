"""
What differs between the Airflow versions that we support (3.1 and later), in one place.

Everything that 3.3 brought is used where it exists; where it does not, the callers get a value that
lets them go on without it. No other module asks for a version.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast

from airflow.sdk import BaseHook
from airflow.triggers.base import BaseTrigger

try:
    from airflow.sdk.configuration import conf
    from airflow.sdk.exceptions import (
        AirflowException,
        AirflowFailException,
        AirflowNotFoundException,
        AirflowSensorTimeout,
        AirflowSkipException,
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
        TaskDeferralError,
        TaskDeferralTimeout,
    )

if TYPE_CHECKING:
    from airflow.sdk import Connection, Context

__all__ = [
    "TRIGGERS_HAVE_ON_KILL",
    "AirflowException",
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "StateStore",
    "TaskDeferralError",
    "TaskDeferralTimeout",
    "aget_connection",
    "conf",
    "get_connection",
    "is_task_over",
    "state_store",
]

#: Since 3.3 the triggerer calls a trigger's ``on_kill`` when a user ends its task; before, nobody says why a
#: trigger is cancelled.
TRIGGERS_HAVE_ON_KILL = hasattr(BaseTrigger, "on_kill")

#: States of a task instance from which it does not come back by itself. A row that is no more counts as well.
_OVER = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})


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
        raise AirflowNotFoundException(message) from error


async def aget_connection(conn_id: str) -> Connection:
    """
    Return a connection without blocking the event loop.

    The async look-up of 3.1 works in the triggerer only, so that there the sync one runs beside the loop.

    :raises AirflowNotFoundException: if there is none.
    """
    if TRIGGERS_HAVE_ON_KILL:
        return await BaseHook.aget_connection(conn_id)
    from asgiref.sync import sync_to_async  # noqa: PLC0415 - comes with Airflow

    return await sync_to_async(get_connection)(conn_id)


async def is_task_over(trigger: BaseTrigger) -> bool:
    """
    Whether the task that deferred to this trigger has ended for good.

    The triggerer cancels triggers also when it moves them to another triggerer, and calls ``on_kill`` after a
    clear whose new attempt runs already: only the task's state tells these apart. The call is a blocking one,
    answered by the triggerer's supervisor; asgiref brings it back to this event loop, while a plain thread would
    read the supervisor's answers to others, which ends the whole triggerer on 3.1.
    """
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance  # noqa: PLC0415 - only in the triggerer
    from asgiref.sync import sync_to_async  # noqa: PLC0415 - comes with Airflow

    instance = trigger.task_instance
    if instance is None:
        return False
    map_index = -1 if instance.map_index is None else instance.map_index
    states = await sync_to_async(RuntimeTaskInstance.get_task_states)(
        dag_id=instance.dag_id,
        task_ids=[instance.task_id],
        run_ids=[instance.run_id],
        map_index=map_index,
    )
    key = instance.task_id if map_index < 0 else f"{instance.task_id}_{map_index}"
    state = states.get(instance.run_id, {}).get(key, "removed")
    return state in _OVER

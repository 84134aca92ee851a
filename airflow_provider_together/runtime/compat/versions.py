"""What differs between the Airflow versions that we support, 3.1 and later: where things are, and connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow import __version__
from airflow.sdk import BaseHook
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
    from airflow.sdk import Connection

__all__ = [
    "TRIGGERS_HAVE_ON_KILL",
    "AirflowException",
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowRuntimeError",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "AirflowTaskTimeout",
    "TaskDeferralError",
    "TaskDeferralTimeout",
    "aget_connection",
    "conf",
    "get_connection",
]

#: Since 3.3 the triggerer calls a trigger's ``on_kill`` when a user ends its task; before, nobody says why a
#: trigger is cancelled. The class itself is not asked: importing it costs a DAG more than all the rest of this module.
TRIGGERS_HAVE_ON_KILL = tuple(map(int, __version__.split(".")[:2])) >= (3, 3)


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
    from asgiref.sync import sync_to_async  # noqa: PLC0415 - comes with Airflow

    return await sync_to_async(get_connection)(conn_id)

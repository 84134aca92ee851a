"""
Asking Airflow for the states of runs and tasks, from wherever we are: a worker, a triggerer, or a command.

Airflow promises none of these ways to providers; ``tests/provider/test_private_parts.py`` names them all.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowRuntimeError

if TYPE_CHECKING:
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
    from airflow.triggers.base import BaseTrigger

_NOT_FOUND = 404
#: States of a task instance from which it does not come back by itself. A row that is no more counts as well.
OVER = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})


def is_in_task() -> bool:
    """Whether this process runs a task, or triggers: what Airflow knows is asked for by messages then."""
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
    if is_in_task():
        task_instances = _task_instances()
        if not task_instances.get_dr_count(dag_id, run_ids=[run_id]):
            return None
        return _word(task_instances.get_dagrun_state(dag_id, run_id))
    from airflow_provider_together.runtime.compat.metadata_database import stored_run_state  # noqa: PLC0415 - models

    state = stored_run_state(dag_id, run_id)
    return None if state is None else _word(state)


def _task_instances() -> type[RuntimeTaskInstance]:
    """Return what asks the API that a task has, and a triggerer."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance  # noqa: PLC0415 - only a task has it

    return RuntimeTaskInstance


def _word(state: Any) -> str:
    return str(getattr(state, "value", state))  # some versions answer with a member of an enumeration


async def is_task_over(trigger: BaseTrigger) -> bool:
    """
    Whether the task that deferred to this trigger has ended for good.

    The triggerer cancels triggers also when it moves them to another triggerer, and calls ``on_kill`` after a
    clear whose new attempt runs already: only the task's state tells these apart. The call is a blocking one,
    answered by the triggerer's supervisor; asgiref brings it back to this event loop, while a plain thread would
    read the supervisor's answers to others, which ends the whole triggerer on 3.1.
    """
    from asgiref.sync import sync_to_async  # noqa: PLC0415 - comes with Airflow

    instance = trigger.task_instance
    if instance is None:
        return False
    state = await sync_to_async(_task_state)(instance)
    return state in OVER


def goes_on_without(ti: Any) -> bool:
    """
    Whether the task goes on without this try of it: it was cleared, or another try was begun meanwhile.

    Airflow ends a try for many reasons and tells none of them. A try that was replaced is not known any more by
    its id, which one cheap read alone asks for on all versions.

    :param ti: the running task instance.
    :raises AirflowRuntimeError: if Airflow does not answer.
    """
    if not is_in_task():
        return False
    from airflow.sdk.execution_time import comms, task_runner  # noqa: PLC0415 - only in a task

    try:
        task_runner.SUPERVISOR_COMMS.send(comms.ValidateInletsAndOutlets(ti_id=ti.id))
    except AirflowRuntimeError as error:
        if (error.error.detail or {}).get("status_code") == _NOT_FOUND:
            return True
        raise
    # A try that runs, of which nobody has said that it must end, was ended from outside: its worker stops.
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

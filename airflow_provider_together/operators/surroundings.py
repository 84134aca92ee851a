"""
What a create finds out about its DAG run before it makes a cluster: who is going to use it, and who to delete it.

Airflow lets people clear tasks in any combination, such as "failed ones only": then a create runs again whose delete
has ended well and does not run again, or one behind which everything has ended already. Setups and teardowns do not
prevent that, so the create looks. It costs one question to Airflow.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from airflow_provider_together.operators.deletion import DeleteGPUClusterOperator
from airflow_provider_together.runtime.compat.task_state import OVER, task_states
from airflow_provider_together.runtime.compat.versions import AirflowFailException, AirflowSkipException

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator


def check_surroundings(create: BaseOperator, ti: Any) -> None:
    """
    Check that a cluster that is made now will be used, and deleted.

    A create without a :class:`DeleteGPUClusterOperator` behind it is not judged.

    :param create: the task that is about to make a cluster.
    :param ti: its running task instance.
    :raises AirflowFailException: if all that would delete the cluster has ended already in this run.
    :raises AirflowSkipException: if all that would use it has, and no delete waits for its id.
    """
    if ti.map_index >= 0 and create.get_closest_mapped_task_group() is None:
        return  # expanded by itself: which index of the others belongs to this one is not known
    behind = create.get_flat_relatives(upstream=False)
    deletes = {task.task_id: task for task in behind if _deletes_clusters(task)}
    if not deletes:
        return
    before_deletes = {one.task_id for delete in deletes.values() for one in delete.get_flat_relatives(upstream=True)}
    users = [
        task.task_id
        for task in behind
        if task.task_id in before_deletes and not (task.is_setup or task.is_teardown or task.task_id in deletes)
    ]
    states = task_states(ti, [*deletes, *users])
    if _are_over(deletes, states, ti.map_index):
        ids = " and ".join(sorted(deletes))
        message = (
            f"No cluster is made: {ids} of this run has ended already, so that nothing would delete it. "
            f"Clear {ids} together with {create.task_id}."
        )
        raise AirflowFailException(message)
    if users and all(map(_needs_no_id, deletes.values())) and _are_over(users, states, ti.map_index):
        message = "No cluster is made: every task of this run that would use it has ended already."
        raise AirflowSkipException(message)


def _deletes_clusters(task: Any) -> bool:
    return issubclass(getattr(task, "operator_class", type(task)), DeleteGPUClusterOperator)


def _needs_no_id(delete: Any) -> bool:
    """Whether a delete gets along without the id that a create returns."""
    return bool(getattr(delete, "partial_kwargs", vars(delete)).get("create_task_id"))


def _are_over(task_ids: Any, states: dict[str, str | None], map_index: int) -> bool:
    found = [_of_task(task_id, states, map_index) for task_id in task_ids]
    return all(of_task and all(state in OVER for state in of_task) for of_task in found)


def _of_task(task_id: str, states: dict[str, str | None], map_index: int) -> list[str | None]:
    """Return the states of a task's instances: in a mapped group that of the same index, else all."""
    index = r"\d+" if map_index < 0 else str(map_index)
    return [state for name, state in states.items() if re.fullmatch(rf"{re.escape(task_id)}(_{index})?", name)]

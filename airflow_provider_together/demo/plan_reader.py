"""
Reads a DAG file for :mod:`airflow_provider_together.demo.plan`, in a process that has an Airflow home of its own.

``python -m airflow_provider_together.demo.plan_reader DAG_FILE`` prints JSON. What cannot be known in advance, such as
a template or a mapped task, is an error: nobody can agree to it.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

try:
    from airflow.dag_processing.dagbag import DagBag
except ImportError:  # before 3.2
    from airflow.models.dagbag import DagBag  # type: ignore[no-redef,attr-defined,unused-ignore]

from airflow_provider_together.demo.consent import Wish
from airflow_provider_together.demo.plan import MARK, PlanError
from airflow_provider_together.operators.base import TogetherOperator
from airflow_provider_together.operators.gpu_cluster import CreateGPUClusterOperator

#: Parameters of a create that may cost beyond its GPUs and its duration.
_GROWING = ("auto_scale", "auto_scale_max_gpus", "shared_volume", "num_preemptible_gpus", "num_capacity_pool_gpus")


def _main(dag_file: str) -> None:
    try:
        answer: dict[str, Any] = {"wishes": [asdict(wish) for wish in _wishes(Path(dag_file))]}
    except PlanError as error:
        answer = {"error": str(error)}
    sys.stdout.write(f"{MARK}{json.dumps(answer)}\n")


def _wishes(dag_file: Path) -> list[Wish]:
    sys.path.append(str(dag_file.parent))
    bag = DagBag(dag_folder=str(dag_file))
    if bag.import_errors:
        message = "\n".join(bag.import_errors.values())
        raise PlanError(message)
    if len(bag.dags) != 1:
        message = f"{dag_file.name} has {len(bag.dags)} DAGs: give a file with one"
        raise PlanError(message)
    dag: Any = next(iter(bag.dags.values()))
    if dag.schedule is not None:
        message = f"DAG {dag.dag_id} has a schedule, which would start runs of its own: set schedule=None"
        raise PlanError(message)
    wishes = [wish for task in dag.tasks for wish in _wishes_of(task)]
    if not wishes:
        message = f"{dag_file.name} has no task that makes a cluster: there is nothing to rent"
        raise PlanError(message)
    return wishes


def _wishes_of(task: Any) -> list[Wish]:
    operator = getattr(task, "operator_class", type(task))
    if not issubclass(operator, TogetherOperator) or not operator.adds_costs:
        return []
    if not issubclass(operator, CreateGPUClusterOperator):
        message = f"task {task.task_id} is a {operator.__name__}, which may cost money on its own: leave it out"
        raise PlanError(message)
    if operator is not type(task) or task.get_closest_mapped_task_group() is not None:
        message = f"task {task.task_id} is mapped: how many clusters it makes is not known in advance"
        raise PlanError(message)
    for name in _GROWING:
        if getattr(task, name) is not None:
            message = f"task {task.task_id}: {name} may cost more than the GPUs asked for: leave it out"
            raise PlanError(message)
    return [_wish(task)]


def _wish(task: CreateGPUClusterOperator) -> Wish:
    words = {"gpu_type": task.gpu_type, "region": task.region, "billing_type": task.billing_type}
    for name, value in {**words, "num_gpus": task.num_gpus, "duration_days": task.duration_days}.items():
        if not isinstance(value, (str, int, type(None))) or "{{" in str(value):
            message = f"task {task.task_id}: {name}={value!r} is known only when it runs; write the value itself"
            raise PlanError(message)
    days = None if task.duration_days is None else int(task.duration_days)
    return Wish(task_id=task.task_id, num_gpus=int(task.num_gpus), days=days, **words)


if __name__ == "__main__":
    _main(sys.argv[1])

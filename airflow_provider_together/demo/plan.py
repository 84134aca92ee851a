"""
What a DAG file will ask Together for, found out before anything is started.

A DAG file is a program, and reading it needs Airflow with a home of its own. So it is read in a process of its
own, which this module also is: ``python -m airflow_provider_together.demo.plan DAG_FILE`` prints JSON. What
cannot be known in advance, such as a template or a mapped task, is an error: nobody can agree to it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_together.demo.consent import Wish
from airflow_provider_together.demo.environment import LOCAL_EXECUTOR, airflow_settings, clean_environment

if TYPE_CHECKING:
    from airflow_provider_together.operators.gpu_cluster import CreateGPUClusterOperator

_TIMEOUT = 120.0
#: Parameters of a create that may cost beyond its GPUs and its duration.
_GROWING = ("auto_scale", "auto_scale_max_gpus", "shared_volume", "num_preemptible_gpus", "num_capacity_pool_gpus")
_MARK = "together-plan "


class PlanError(Exception):
    """Nobody can tell in advance what the DAG will ask for."""


def read_plan(dag_file: Path) -> list[Wish]:
    """
    Return the clusters that a DAG file will ask for.

    :raises PlanError: if it cannot be read, or does not say how much.
    """
    with tempfile.TemporaryDirectory(prefix="together-plan-") as folder:
        home = Path(folder)
        settings = airflow_settings(
            home, port=0, sql_alchemy_conn=f"sqlite:///{home}/airflow.db", executor=LOCAL_EXECUTOR, parallelism=1
        )
        result = subprocess.run(  # noqa: S603 - our own module
            [sys.executable, "-m", __spec__.name, str(dag_file.resolve())],
            env={**clean_environment(os.environ), **settings},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
    answers = [line.removeprefix(_MARK) for line in result.stdout.splitlines() if line.startswith(_MARK)]
    if result.returncode or len(answers) != 1:
        message = f"{dag_file} cannot be read:\n{result.stderr[-2000:]}"
        raise PlanError(message)
    answer = json.loads(answers[0])
    if "error" in answer:
        raise PlanError(answer["error"])
    return [Wish(**wish) for wish in answer["wishes"]]


def _main(dag_file: str) -> None:
    try:
        answer: dict[str, Any] = {"wishes": [asdict(wish) for wish in _wishes(Path(dag_file))]}
    except PlanError as error:
        answer = {"error": str(error)}
    sys.stdout.write(f"{_MARK}{json.dumps(answer)}\n")


def _wishes(dag_file: Path) -> list[Wish]:
    try:
        from airflow.dag_processing.dagbag import DagBag  # noqa: PLC0415 - only this process has Airflow
    except ImportError:  # before 3.2
        from airflow.models.dagbag import DagBag  # type: ignore[no-redef,attr-defined,unused-ignore] # noqa: PLC0415

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
    from airflow_provider_together.operators.base import TogetherOperator  # noqa: PLC0415
    from airflow_provider_together.operators.gpu_cluster import CreateGPUClusterOperator  # noqa: PLC0415

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

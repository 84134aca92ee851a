"""
The DAGs of the kill matrix: one shape, the canonical one, with what differs from row to row given as a value.

Separate, because this is the only part that Airflow's processes import: a DAG file of two lines calls
:func:`build`. What is not to be proved costs nothing: the work is an empty task unless a row needs it held.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, get_parsing_context, task
from airflow.triggers.base import BaseTrigger

from airflow_provider_together.operators.gpu_cluster import CreateGPUClusterOperator, DeleteGPUClusterOperator
from airflow_provider_together.sensors.gpu_cluster import ClusterReadySensor
from airflow_provider_together.task_groups.gpu_cluster import GPUClusterTaskGroup

#: Folder in Airflow's home where a file named after a DAG lets its held work end.
RELEASES = "releases"
#: Seconds between two looks of whoever waits.
LOOK = 1.0
#: How many clusters a mapped create makes.
MAPPED = 2

_SPEC: Mapping[str, Any] = MappingProxyType(
    {
        "region": "us-central-8",
        "gpu_type": "H100_SXM",
        "duration_days": 1,
        "driver_version": "CUDA_12_8_570",
        "billing_type": "ON_DEMAND",
        "poll_interval": LOOK,
    }
)
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class ImpatientCreate(CreateGPUClusterOperator):
    """A create whose deferral Airflow itself ends after seconds, long before the trigger's own deadline."""

    def defer(
        self, *, trigger: BaseTrigger, method_name: str, kwargs: dict[str, Any] | None = None, timeout: Any = None
    ) -> NoReturn:
        del timeout
        super().defer(trigger=trigger, method_name=method_name, kwargs=kwargs, timeout=timedelta(seconds=40))


@dataclass(frozen=True)
class Shape:
    """
    What is special about a row's DAG.

    :param create: further arguments of the create, which neither waits nor is retried by default.
    :param sensor: further arguments of the sensor, which defers; None for a DAG without one.
    :param work: ``empty``, or ``held`` until it is released.
    :param work_queue: of work that is held.
    :param delete: further arguments of the delete.
    :param timeout: seconds after which Airflow ends the run.
    :param is_mapped: whether create and delete are mapped over :data:`MAPPED` clusters.
    :param is_block: whether all stands in the block of a task group; then create waits until the cluster is READY.
    :param is_impatient: whether Airflow's deferral timeout is shorter than the wait of the trigger.
    """

    create: Mapping[str, Any] = field(default_factory=dict)
    sensor: Mapping[str, Any] | None = None
    work: str = "empty"
    work_queue: str = "default"
    delete: Mapping[str, Any] = field(default_factory=dict)
    timeout: float | None = None
    is_mapped: bool = False
    is_block: bool = False
    is_impatient: bool = False


def build(shapes: Mapping[str, tuple[Shape, str]]) -> None:
    """
    Make the DAGs in the DAG file that calls this; in a task's process only the one that is wanted.

    :param shapes: DAG id to its shape and the id of its connection.
    """
    wanted = get_parsing_context().dag_id
    for dag_id, (shape, conn_id) in shapes.items():
        if wanted in {None, dag_id}:
            _build(dag_id, shape, conn_id)


def _build(dag_id: str, shape: Shape, conn_id: str) -> None:
    timeout = None if shape.timeout is None else timedelta(seconds=shape.timeout)
    arguments = {"retry_delay": timedelta(seconds=1), "together_conn_id": conn_id}
    with DAG(dag_id, schedule=None, dagrun_timeout=timeout, default_args=arguments):
        if shape.is_block:
            _build_block(shape, conn_id)
            return
        create = _create(shape)
        delete = _delete(shape, create)
        work = _work(shape)
        if shape.sensor is None:
            create >> work
        else:
            options = {"deferrable": True, "poke_interval": LOOK, **shape.sensor}
            sensor = ClusterReadySensor(task_id="sensor", cluster_id=create.output, **options)
            sensor >> work
        work >> delete.as_teardown(setups=create, on_failure_fail_dagrun=True)
        work >> EmptyOperator(task_id="report")


def _build_block(shape: Shape, conn_id: str) -> None:
    waiting = {name: value for name, value in shape.create.items() if name != "wait_for_completion"}
    options = {**_SPEC, **waiting, "num_gpus": 8, "together_conn_id": conn_id}
    with GPUClusterTaskGroup("block", prefix_group_id=False, **options) as block:
        _work(shape)
    block >> EmptyOperator(task_id="report")
    dag = block.dag
    for name, value in shape.delete.items():
        setattr(dag.get_task("delete"), name, value)
    if shape.is_impatient:
        dag.get_task("create").__class__ = ImpatientCreate


def _work(shape: Shape) -> Any:
    return _hold.override(queue=shape.work_queue)() if shape.work == "held" else EmptyOperator(task_id="work")


def _create(shape: Shape) -> Any:
    operator = ImpatientCreate if shape.is_impatient else CreateGPUClusterOperator
    arguments = {**_SPEC, **shape.create}
    if shape.is_mapped:
        gpus = [8 * (index + 1) for index in range(MAPPED)]
        return operator.partial(task_id="create", **arguments).expand(num_gpus=gpus)
    return operator(task_id="create", num_gpus=8, **arguments)


def _delete(shape: Shape, create: Any) -> Any:
    arguments = {"poll_interval": LOOK, **shape.delete}
    if shape.is_mapped:
        return DeleteGPUClusterOperator.partial(task_id="delete", **arguments).expand(cluster_id=create.output)
    return DeleteGPUClusterOperator(task_id="delete", cluster_id=create.output, **arguments)


@task(task_id="work")
def _hold(**context: Any) -> None:
    release = Path(os.environ["AIRFLOW_HOME"], RELEASES, context["dag"].dag_id)
    while not release.exists():
        time.sleep(0.2)

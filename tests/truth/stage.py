"""
The DAGs of the table, and how their training goes: a value that a row sets, try by try.

A training here is a task that needs a live cluster that is READY, as a real one does: on any other it fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, TriggerRule, task
from airflow.sdk.exceptions import AirflowSkipException

from airflow_provider_together.emulator import Emulator
from airflow_provider_together.hooks.together import TogetherHook
from airflow_provider_together.operators.gpu_cluster import CreateGPUClusterOperator, DeleteGPUClusterOperator
from airflow_provider_together.sensors.gpu_cluster import ClusterReadySensor
from airflow_provider_together.task_groups.gpu_cluster import GPUClusterTaskGroup

CLUSTER: dict[str, Any] = {
    "region": "us-central-8",
    "gpu_type": "H100_SXM",
    "num_gpus": 8,
    "duration_days": 1,
    "driver_version": "CUDA_12_8_570",
    "billing_type": "ON_DEMAND",
}
#: Seconds between two looks.
LOOK = 0.05

OK = "succeeds"
FAILS = "fails"
SKIPS = "is skipped"


@dataclass
class Stage:
    """
    Where a row plays.

    :param dag_id: of its DAG.
    :param emulator: the cloud of that row alone.
    :param ends: how the training ends, try by try; the last word holds for all that follow.
    """

    dag_id: str
    emulator: Emulator
    ends: list[str] = field(default_factory=lambda: [OK])
    trained: list[str] = field(default_factory=list)

    def train(self, cluster_id: str) -> str:
        """Train; how it ends is what the row says."""
        status = TogetherHook().get_gpu_cluster(cluster_id).phase.name
        if status != "READY":
            message = f"cluster {cluster_id} is {status}"
            raise RuntimeError(message)
        self.trained.append(self.ends.pop(0) if len(self.ends) > 1 else self.ends[0])
        if self.trained[-1] == FAILS:
            message = "the training crashed"
            raise RuntimeError(message)
        if self.trained[-1] == SKIPS:
            reason = "there is nothing to train on"
            raise AirflowSkipException(reason)
        return self.trained[-1]

    def training(self, **options: Any) -> Callable[..., Any]:
        """Return the training as a task."""
        training: Callable[..., Any] = task(task_id="train", **options)(self.train)
        return training

    def dag(self, **options: Any) -> DAG:
        """Return the row's DAG, to be filled."""
        return DAG(self.dag_id, schedule=options.pop("schedule", None), **options)


def block(group_id: str = "h100", **options: Any) -> GPUClusterTaskGroup:
    """Return a block with what all rows share."""
    return GPUClusterTaskGroup(group_id, **{"poll_interval": LOOK, **CLUSTER, **options})


def empty(task_id: str, **options: Any) -> EmptyOperator:
    """Return a task that does nothing."""
    return EmptyOperator(task_id=task_id, **options)


def block_dag(stage: Stage) -> DAG:
    """Return the block with three tasks inside, one before it and two after."""
    with stage.dag() as dag:
        before = empty("before")
        with block() as cluster:
            empty("prepare") >> stage.training()(cluster.cluster_id) >> empty("measure")
        before >> cluster >> empty("report") >> empty("later")
    return dag


def hand_dag(stage: Stage) -> DAG:
    """Return the same by hand, wired as docs/operators.md says."""
    with stage.dag() as dag:
        create = CreateGPUClusterOperator(task_id="create", **CLUSTER)
        ready = ClusterReadySensor(task_id="ready", cluster_id=create.output, deferrable=True, poke_interval=LOOK)
        delete = DeleteGPUClusterOperator(task_id="delete", cluster_id=create.output, poll_interval=LOOK)
        outcome = empty("outcome")
        measure = empty("measure")
        train = stage.training()(create.output)
        empty("before") >> create >> ready >> empty("prepare") >> train >> measure >> [delete, outcome]
        for teardown in (delete, outcome):
            teardown.as_teardown(setups=[create, ready], on_failure_fail_dagrun=True)
        outcome.trigger_rule = TriggerRule.NONE_FAILED
        train >> outcome
        measure >> empty("report") >> empty("later")
    return dag


@dataclass(frozen=True)
class Shape:
    """
    A way to write the same DAG.

    :param name: for sentences.
    :param build: makes it.
    :param prefix: of the ids of the tasks between create and delete.
    :param wrapping: the ids of the tasks that are ours.
    """

    name: str
    build: Callable[[Stage], DAG]
    prefix: str
    wrapping: tuple[str, ...]

    def inside(self) -> Iterator[str]:
        """Return the ids of the tasks of the user's that need the cluster."""
        return (f"{self.prefix}{name}" for name in ("prepare", "train", "measure"))


SHAPES = (
    Shape("in a block", block_dag, "h100.", ("h100.begin", "h100.create", "h100.done", "h100.delete", "h100.outcome")),
    Shape("by hand", hand_dag, "", ("create", "ready", "delete", "outcome")),
)
AROUND = ("before", "report", "later")
SOON = timedelta(milliseconds=1)

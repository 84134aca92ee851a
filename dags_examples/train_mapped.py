"""Three clusters side by side, one for each learning rate, and a task that picks the best."""

from __future__ import annotations

from typing import Any

from airflow.sdk import dag, task, task_group
from linear_model import fit, loss, read_rows

from airflow_provider_together.hooks.together import TogetherHook
from airflow_provider_together.task_groups.gpu_cluster import GPUClusterTaskGroup


@task
def train(cluster_id: str, learning_rate: float) -> tuple[float, float]:
    """Fit a small model on the nodes of the cluster; return its loss and the learning rate."""
    nodes = TogetherHook().get_gpu_cluster(cluster_id).gpu_worker_nodes
    rows = read_rows()
    return loss(fit(rows, nodes=len(nodes), learning_rate=learning_rate), rows), learning_rate


@task
def best(results: list[tuple[float, float]]) -> float:
    """Return the learning rate with the smallest loss."""
    return min(results)[1]


@dag(schedule=None, catchup=False, tags=["together"])
def train_mapped() -> None:
    @task_group
    def trial(learning_rate: float) -> Any:
        with GPUClusterTaskGroup(
            "h100",
            region="us-central-8",
            gpu_type="H100_SXM",
            num_gpus=8,
            duration_days=1,
            driver_version="CUDA_12_8_570",
            billing_type="ON_DEMAND",
        ) as cluster:
            return train(cluster.cluster_id, learning_rate)

    best(trial.expand(learning_rate=[0.05, 0.1, 0.2]))


train_mapped()

"""Ask for a cluster of H100s, wait until it is READY, train on it, give it back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import dag, task
from linear_model import fit, loss, read_rows

from airflow_provider_together.hooks.together import TogetherHook
from airflow_provider_together.task_groups.gpu_cluster import GPUClusterTaskGroup


@task
def train(cluster_id: str) -> dict[str, Any]:
    """Fit a small model on the nodes of the cluster."""
    nodes = TogetherHook().get_gpu_cluster(cluster_id).gpu_worker_nodes
    rows = read_rows()
    weights = fit(rows, nodes=len(nodes))
    return {
        "nodes": [node.name for node in nodes],
        "gpus": sum(node.num_gpus or 0 for node in nodes),
        "loss_before": round(loss((0.0, 0.0, 0.0), rows), 4),
        "loss_after": round(loss(weights, rows), 4),
    }


@task
def report(result: dict[str, Any]) -> None:
    """Say what came of it; the cluster is not needed any more."""
    print(f"{result['gpus']} GPUs: loss {result['loss_before']} -> {result['loss_after']}")


@dag(schedule=None, catchup=False, tags=["together"])
def train_on_gpu_cluster() -> None:
    with GPUClusterTaskGroup(
        "h100",
        region="us-central-8",
        gpu_type="H100_SXM",
        num_gpus=16,
        duration_days=1,
        driver_version="CUDA_12_8_570",
        billing_type="ON_DEMAND",
        max_lifetime=timedelta(hours=12),
        poll_interval=2,
    ) as cluster:
        result = train(cluster.cluster_id)
    # Not needed for the cluster, which is given back whatever becomes of the training.
    report(result)


train_on_gpu_cluster()

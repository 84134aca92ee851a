"""Ask for a cluster of H100s, wait until it is READY, train on it, give it back."""

from __future__ import annotations

from typing import Any

from airflow.sdk import dag, task
from linear_model import fit, loss, read_rows

from airflow_provider_together.hooks.together import TogetherHook
from airflow_provider_together.operators.gpu_cluster import CreateGPUClusterOperator, DeleteGPUClusterOperator
from airflow_provider_together.sensors.gpu_cluster import ClusterReadySensor


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
    create = CreateGPUClusterOperator(
        task_id="create",
        region="us-central-8",
        gpu_type="H100_SXM",
        num_gpus=16,
        duration_days=1,
        driver_version="CUDA_12_8_570",
        billing_type="ON_DEMAND",
    )
    ready = ClusterReadySensor(
        task_id="wait_until_ready", cluster_id=create.output, deferrable=True, poke_interval=2, timeout=3600
    )
    delete = DeleteGPUClusterOperator(task_id="delete", cluster_id=create.output, poll_interval=2)
    # The teardown runs whatever becomes of the training, and fails the run if the cluster cannot be given back. With
    # that it hides a failed training from the run, so that a task beside it has to tell.
    result = train(create.output)
    ready >> result >> delete.as_teardown(setups=create, on_failure_fail_dagrun=True)
    report(result)


train_on_gpu_cluster()

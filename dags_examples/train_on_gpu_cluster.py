"""Ask for a cluster of H100s, wait until it is READY, train on all its nodes, give it back."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import dag, task

from airflow_provider_together.operators.kubernetes import GPUClusterJobOperator
from airflow_provider_together.task_groups.gpu_cluster import GPUClusterTaskGroup

TRAINING = Path(__file__).with_name("data_parallel.py").read_text()


@task
def report(result: dict[str, Any]) -> None:
    """Say what came of it; the cluster is not needed for that."""
    print(f"{result['nodes']} nodes: loss {result['loss']:.6f}, weights {result['weights']}")


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
        train = GPUClusterJobOperator(
            task_id="train",
            cluster_id=cluster.cluster_id,
            image="python:3.12-slim",
            command=["python", "-c", TRAINING],
            poll_interval=1,
            deferrable=True,
        )
    # Not needed for the cluster, which is given back whatever becomes of the training.
    report(train.output)


train_on_gpu_cluster()

"""Three clusters side by side, one for each learning rate, and a task that picks the best."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from airflow.sdk import dag, task, task_group

from airflow_provider_together.operators.kubernetes import GPUClusterJobOperator
from airflow_provider_together.task_groups.gpu_cluster import GPUClusterTaskGroup

TRAINING = Path(__file__).with_name("data_parallel.py").read_text()


@task
def best(results: list[dict[str, Any]]) -> float:
    """Return the learning rate with the smallest loss."""
    return float(min(results, key=lambda result: result["loss"])["learning_rate"])


@dag(schedule=None, catchup=False, tags=["together"])
def train_mapped() -> None:
    @task_group
    def trial(learning_rate: str) -> Any:
        with GPUClusterTaskGroup(
            "h100",
            region="us-central-8",
            gpu_type="H100_SXM",
            num_gpus=8,
            duration_days=1,
            driver_version="CUDA_12_8_570",
            billing_type="ON_DEMAND",
        ) as cluster:
            train = GPUClusterJobOperator(
                task_id="train",
                cluster_id=cluster.cluster_id,
                image="python:3.12-slim",
                command=["python", "-c", TRAINING],
                env_vars={"LEARNING_RATE": learning_rate},
            )
        return train.output

    best(trial.expand(learning_rate=["0.05", "0.1", "0.2"]))


train_mapped()

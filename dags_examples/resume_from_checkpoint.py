"""
A training that loses its node goes on from its checkpoint, in a cluster of its own or in the next one.

The shared volume outlives the clusters. That the node is taken away in the first try is simulated.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import dag, task

from airflow_provider_together.operators.kubernetes import GPUClusterJobOperator
from airflow_provider_together.operators.shared_volume import CreateSharedVolumeOperator
from airflow_provider_together.task_groups.gpu_cluster import GPUClusterTaskGroup

TRAINING = Path(__file__).with_name("data_parallel.py").read_text()


@task
def report(result: dict[str, Any]) -> None:
    print(f"went on from epoch {result['first_epoch']}: loss {result['loss']:.6f}")


@dag(schedule=None, catchup=False, tags=["together"])
def resume_from_checkpoint() -> None:
    volume = CreateSharedVolumeOperator(
        task_id="volume", volume_name="checkpoints", size_tib=1, region="us-central-8", if_exists="adopt"
    )
    with GPUClusterTaskGroup(
        "h100",
        region="us-central-8",
        gpu_type="H100_SXM",
        num_gpus=8,
        duration_days=1,
        driver_version="CUDA_12_8_570",
        billing_type="ON_DEMAND",
        volume_id=volume.output,
    ) as cluster:
        train = GPUClusterJobOperator(
            task_id="train",
            cluster_id=cluster.cluster_id,
            image="python:3.12-slim",
            command=["python", "-c", TRAINING],
            shared_volume="checkpoints",
            env_vars={
                "CHECKPOINT": "/mnt/shared/{{ run_id }}.json",
                "TAKEN_AWAY_AT": "{{ 120 if ti.try_number == 1 else 'never' }}",
            },
            retries=2,
            retry_delay=timedelta(seconds=1),
        )
    report(train.output)


resume_from_checkpoint()

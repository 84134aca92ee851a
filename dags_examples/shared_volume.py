"""A shared volume that is made once, kept, and attached to the cluster of each run."""

from __future__ import annotations

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import TriggerRule, dag, task

from airflow_provider_together.hooks.together import TogetherHook
from airflow_provider_together.operators.gpu_cluster import CreateGPUClusterOperator, DeleteGPUClusterOperator
from airflow_provider_together.operators.shared_volume import CreateSharedVolumeOperator
from airflow_provider_together.sensors.gpu_cluster import ClusterReadySensor


@task
def train(cluster_id: str) -> list[str]:
    """Return the volumes that the training would find on the nodes of the cluster."""
    return [volume.volume_name for volume in TogetherHook().get_gpu_cluster(cluster_id).volumes]


@task
def report(volumes: list[str]) -> None:
    """Tell what the training has left."""
    print(f"found {volumes}")


@dag(schedule=None, catchup=False, tags=["together"])
def shared_volume() -> None:
    volume = CreateSharedVolumeOperator(
        task_id="volume", volume_name="checkpoints", size_tib=1, region="us-central-8", if_exists="adopt"
    )
    create = CreateGPUClusterOperator(
        task_id="create",
        region="us-central-8",
        gpu_type="H100_SXM",
        num_gpus=8,
        duration_days=1,
        driver_version="CUDA_12_8_570",
        billing_type="ON_DEMAND",
        volume_id=volume.output,
    )
    ready = ClusterReadySensor(task_id="wait_until_ready", cluster_id=create.output, deferrable=True)
    # Only the cluster goes; the volume waits for the next run.
    delete = DeleteGPUClusterOperator(task_id="delete", cluster_id=create.output)
    volumes = train(create.output)
    outcome = EmptyOperator(task_id="outcome")
    ready >> volumes >> [delete, outcome]
    for teardown in (delete, outcome):
        teardown.as_teardown(setups=[create, ready], on_failure_fail_dagrun=True)
    outcome.trigger_rule = TriggerRule.NONE_FAILED  # fails the run if the training has failed, which delete would hide
    report(volumes)


shared_volume()

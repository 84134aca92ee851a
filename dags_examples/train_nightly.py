"""A job of every night: one run at a time, none made up for, the cluster reserved by its own short life."""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import TriggerRule, dag, task
from linear_model import fit, loss, read_rows

from airflow_provider_together.hooks.together import TogetherHook
from airflow_provider_together.operators.gpu_cluster import CreateGPUClusterOperator, DeleteGPUClusterOperator
from airflow_provider_together.sensors.gpu_cluster import ClusterReadySensor


@task(retries=2, retry_delay=timedelta(minutes=1))
def train(cluster_id: str) -> float:
    """Fit a small model on the nodes of the cluster."""
    nodes = TogetherHook().get_gpu_cluster(cluster_id).gpu_worker_nodes
    rows = read_rows()
    return loss(fit(rows, nodes=len(nodes)), rows)


@task
def report(final_loss: float) -> None:
    """Tell what the training has left."""
    print(f"loss {final_loss:.4f}")


# With catchup, or with two runs at a time, a night of trouble would end in a crowd of clusters.
@dag(schedule="0 2 * * *", start_date=datetime(2026, 1, 1), catchup=False, max_active_runs=1, tags=["together"])
def train_nightly() -> None:
    create = CreateGPUClusterOperator(
        task_id="create",
        region="us-central-8",
        gpu_type="H100_SXM",
        num_gpus=8,
        duration_days=1,
        driver_version="CUDA_12_8_570",
        billing_type="ON_DEMAND",
        retries=3,
        retry_delay=timedelta(minutes=10),
    )
    ready = ClusterReadySensor(
        task_id="wait_until_ready", cluster_id=create.output, mode="reschedule", poke_interval=60, timeout=7200
    )
    delete = DeleteGPUClusterOperator(task_id="delete", cluster_id=create.output, retries=5)
    final_loss = train(create.output)
    outcome = EmptyOperator(task_id="outcome")
    ready >> final_loss >> [delete, outcome]
    for teardown in (delete, outcome):
        teardown.as_teardown(setups=[create, ready], on_failure_fail_dagrun=True)
    outcome.trigger_rule = TriggerRule.NONE_FAILED  # fails the run if the training has failed, which delete would hide
    report(final_loss)


train_nightly()

"""The same job with all waiting in the triggerer: no worker is busy while the cluster comes and goes."""

from __future__ import annotations

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import TriggerRule, dag, task
from linear_model import fit, loss, read_rows

from airflow_provider_together.hooks.together import TogetherHook
from airflow_provider_together.operators.gpu_cluster import CreateGPUClusterOperator, DeleteGPUClusterOperator


@task
def train(cluster_id: str) -> float:
    """Fit a small model on the nodes of the cluster."""
    nodes = TogetherHook().get_gpu_cluster(cluster_id).gpu_worker_nodes
    rows = read_rows()
    return loss(fit(rows, nodes=len(nodes)), rows)


@task
def report(final_loss: float) -> None:
    """Tell what the training has left."""
    print(f"loss {final_loss:.4f}")


@dag(schedule=None, catchup=False, tags=["together"])
def train_deferred() -> None:
    create = CreateGPUClusterOperator(
        task_id="create",
        region="us-central-8",
        gpu_type="H100_SXM",
        num_gpus=8,
        duration_days=1,
        driver_version="CUDA_12_8_570",
        billing_type="ON_DEMAND",
        wait_for_completion=True,
        deferrable=True,
        poll_interval=5,
    )
    delete = DeleteGPUClusterOperator(task_id="delete", cluster_id=create.output, deferrable=True, poll_interval=5)
    final_loss = train(create.output)
    outcome = EmptyOperator(task_id="outcome")
    final_loss >> [delete, outcome]
    for teardown in (delete, outcome):
        teardown.as_teardown(setups=create, on_failure_fail_dagrun=True)
    outcome.trigger_rule = TriggerRule.NONE_FAILED  # fails the run if the training has failed, which delete would hide
    report(final_loss)


train_deferred()

"""One pod on one node of a cluster, with what it prints in the task's log and what it returns as its XCom."""

from __future__ import annotations

import airflow.providers.cncf.kubernetes.operators.pod  # noqa: F401 - imported once for all DAGs, not at each parse
from airflow.sdk import dag, task

from airflow_provider_together.operators.kubernetes import GPUClusterPodOperator
from airflow_provider_together.task_groups.gpu_cluster import GPUClusterTaskGroup

TRAINING = """
import json
weight = 0.0
for step in range(100):
    weight -= 0.1 * 2 * (weight - 3)
    if step % 25 == 0:
        print(f"step {step}: weight {weight:.4f}", flush=True)
with open("/airflow/xcom/return.json", "w") as file:
    json.dump({"weight": weight}, file)
"""


@task
def report(result: dict[str, float]) -> None:
    print(f"weight {result['weight']:.4f}")


@dag(schedule=None, catchup=False, tags=["together"])
def train_single_node() -> None:
    with GPUClusterTaskGroup(
        "h100",
        region="us-central-8",
        gpu_type="H100_SXM",
        num_gpus=8,
        duration_days=1,
        driver_version="CUDA_12_8_570",
        billing_type="ON_DEMAND",
    ) as cluster:
        train = GPUClusterPodOperator(
            task_id="train",
            cluster_id=cluster.cluster_id,
            image="python:3.12-slim",
            cmds=["python", "-c", TRAINING],
            do_xcom_push=True,
            deferrable=True,
        )
    report(train.output)


train_single_node()

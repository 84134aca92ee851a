"""
The tasks that are tried on the real server: Airflow's own operator as control, and ours.

Separate, because a task is also run in a process of its own, which is killed (``worker.py``).
"""

from __future__ import annotations

import os
from typing import Any, Literal

from airflow.sdk import DAG, BaseOperator

#: Airflow's operator is told by a file, ours by the cluster.
Kind = Literal["KubernetesPodOperator", "GPUClusterPodOperator"]
KINDS: tuple[Kind, ...] = ("KubernetesPodOperator", "GPUClusterPodOperator")

KUBECONFIG_VARIABLE = "REAL_KUBERNETES_KUBECONFIG"
CLUSTER_VARIABLE = "REAL_KUBERNETES_CLUSTER"

_ARGUMENTS: dict[str, Any] = {
    "task_id": "train",
    "image": "train:1",
    "cmds": ["sh", "-c"],
    "namespace": "default",
    "startup_timeout_seconds": 60,
    "startup_check_interval_seconds": 1,
    "base_container_status_polling_interval": 0.2,
    "poll_interval": 0.5,
    "termination_grace_period": 1,
}


def make_task(kind: Kind, script: str, **arguments: Any) -> BaseOperator:
    """Return a task, of the DAG around it, that runs a shell script in a pod."""
    arguments = {**_ARGUMENTS, "arguments": [script], **arguments}
    if kind == "KubernetesPodOperator":
        from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator

        config_file = os.environ[KUBECONFIG_VARIABLE]
        return KubernetesPodOperator(config_file=config_file, in_cluster=False, **arguments)
    from airflow_provider_together.operators.kubernetes import GPUClusterPodOperator

    return GPUClusterPodOperator(cluster_id=os.environ[CLUSTER_VARIABLE], **arguments)


def make_dag(kind: Kind, script: str, **arguments: Any) -> DAG:
    """Return a DAG of that one task."""
    with DAG("real_kubernetes", schedule=None) as dag:
        make_task(kind, script, **arguments)
    return dag

"""Train on two nodes by Slurm, and give the cluster back: ``srun`` starts one process per GPU."""

from __future__ import annotations

from typing import Any

from airflow.sdk import dag, task

from airflow_provider_together.operators.slurm import GPUClusterSlurmOperator
from airflow_provider_together.task_groups.gpu_cluster import GPUClusterTaskGroup

REGION = "us-central-8"

#: The last line is the result of the task. A training stands where this one only says who it is.
SCRIPT = """\
#!/bin/bash
set -euo pipefail
count=$(srun bash -c 'echo "rank $SLURM_PROCID of $SLURM_NTASKS trains"' | tee -a /dev/stderr | wc -l)
printf '{"ranks": %s}' "$count" >"$TOGETHER_RESULT_PATH"
"""


@task
def report(result: dict[str, Any]) -> None:
    """Say what came of it."""
    print(f"trained by {result['ranks']} processes")


@dag(schedule=None, catchup=False, tags=["together"])
def train_on_slurm() -> None:
    with GPUClusterTaskGroup(
        "h100",
        region=REGION,
        gpu_type="H100_SXM",
        num_gpus=16,
        cluster_type="SLURM",
        duration_days=1,
        driver_version="CUDA_12_8_570",
        billing_type="ON_DEMAND",
    ) as cluster:
        train = GPUClusterSlurmOperator(
            task_id="train",
            cluster_id=cluster.cluster_id,
            region=REGION,
            ssh_conn_id="slurm_login",  # with login, private key and host keys
            script=SCRIPT,
            sbatch_options={"nodes": 2, "ntasks-per-node": 8, "gpus-per-node": 8, "time": "04:00:00"},
            deferrable=True,
        )
        report(train.output)


train_on_slurm()

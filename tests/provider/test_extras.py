"""What needs an extra says so when the DAG is parsed, before a cluster is made to train on."""

from __future__ import annotations

import sys

import pytest

from airflow_provider_together.operators import kubernetes
from airflow_provider_together.operators.kubernetes import GPUClusterJobOperator
from airflow_provider_together.operators.slurm import GPUClusterSlurmOperator


def test_a_job_without_the_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes_asyncio", None)
    with pytest.raises(ImportError, match=r"GPUClusterJobOperator .* pip install 'airflow-provider-together\[kubern"):
        GPUClusterJobOperator(task_id="train", cluster_id="c", image="i")


def test_a_pod_without_the_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes_asyncio", None)
    with pytest.raises(ImportError, match=r"GPUClusterPodOperator .* pip install 'airflow-provider-together\[kubern"):
        _ = kubernetes.GPUClusterPodOperator


def test_a_batch_script_without_the_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncssh", None)
    with pytest.raises(ImportError, match=r"GPUClusterSlurmOperator .* pip install 'airflow-provider-together\[slurm"):
        GPUClusterSlurmOperator(task_id="train", cluster_id="c", script="#!/bin/sh\n")

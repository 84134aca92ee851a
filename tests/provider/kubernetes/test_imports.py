"""What a DAG pays for importing the operators, and that both are found where the README says."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_together.operators import kubernetes, kubernetes_pod

BROUGHT = """
import json, sys
import airflow.sdk
airflow.sdk.BaseOperator
before = set(sys.modules)
from airflow_provider_together.operators.kubernetes import {name}
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def brought_by(name: str, tmp_path: Path) -> set[str]:
    environment = {"AIRFLOW_HOME": str(tmp_path), "PATH": "", "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-c", BROUGHT.format(name=name)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_job_operator_brings_no_kubernetes(tmp_path: Path) -> None:
    brought = brought_by("GPUClusterJobOperator", tmp_path)
    heavy = (
        "kubernetes",
        "kubernetes_asyncio",
        "aiohttp",
        "airflow.providers",
        "airflow.models",
        "airflow.triggers.base",
    )
    assert {name for name in brought if name.startswith(heavy)} == set()


def test_the_pod_operator_is_imported_when_it_is_asked_for(tmp_path: Path) -> None:
    assert "airflow.providers.cncf.kubernetes.operators.pod" in brought_by("GPUClusterPodOperator", tmp_path)


def test_it_is_one_class_by_either_way() -> None:
    assert kubernetes.GPUClusterPodOperator is kubernetes_pod.GPUClusterPodOperator
    assert pickle.loads(pickle.dumps(kubernetes.GPUClusterPodOperator)) is kubernetes_pod.GPUClusterPodOperator  # noqa: S301


def test_all_that_the_module_promises_is_there() -> None:
    assert [getattr(kubernetes, name).__name__ for name in kubernetes.__all__] == kubernetes.__all__


def test_what_is_not_there_is_told_as_of_any_module() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'GPUClusterJob'"):
        kubernetes.GPUClusterJob  # noqa: B018

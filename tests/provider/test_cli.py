"""The command ``together-airflow``, as a person or a script calls it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from airflow_provider_together.api.specs import ClusterSpec
from airflow_provider_together.emulator import Emulator
from airflow_provider_together.hooks.together import TogetherHook
from tests.provider.test_hook import SPEC


def run(*arguments: str, answer: str = "") -> subprocess.CompletedProcess[str]:
    code = "import sys; from airflow_provider_together.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(
        command, input=answer, capture_output=True, text=True, timeout=120, check=False, env=dict(os.environ)
    )


@pytest.fixture
def cluster_id(emulator: Emulator) -> str:
    cluster = TogetherHook().create_gpu_cluster(ClusterSpec.parse(SPEC))
    emulator.advance(3600)
    return cluster.cluster_id


def test_clusters_are_listed_for_people_and_for_programs(cluster_id: str) -> None:
    assert cluster_id in run("clusters", "list").stdout
    listed = json.loads(run("clusters", "list", "--json").stdout)
    assert [cluster["cluster_id"] for cluster in listed] == [cluster_id]


def test_a_cluster_is_shown_without_its_kubeconfig(cluster_id: str) -> None:
    shown = json.loads(run("clusters", "show", cluster_id).stdout)
    assert shown["phase"] == "READY"
    assert "kube_config" not in shown


def test_a_cluster_is_deleted_only_after_its_id_was_typed(cluster_id: str, emulator: Emulator) -> None:
    refused = run("clusters", "delete", cluster_id, answer="yes\n")
    assert refused.returncode == 2
    assert len(emulator.alive()) == 1
    done = run("clusters", "delete", cluster_id, "--poll-interval", "0.1", answer=f"{cluster_id}\n")
    assert done.returncode == 0
    assert emulator.alive() == []


def test_an_error_is_one_line_and_a_status(emulator: Emulator) -> None:
    del emulator
    failed = run("clusters", "show", "no-such-cluster")
    assert failed.returncode == 1
    assert "together-airflow: get GPU cluster no-such-cluster" in failed.stderr
    assert "Traceback" not in failed.stderr

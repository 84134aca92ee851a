"""A shared volume of Together's, mounted by its name in a pod on a real API server."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.real_kubernetes.tasks import make_dag
from tests.real_kubernetes.volume import VOLUME, shared_volume
from tests.support.dag_runs import run_dag

pytestmark = [pytest.mark.real_kubernetes, pytest.mark.usefixtures("cluster_id", "clean_namespace")]

CLAIM = f"/api/v1/namespaces/default/persistentvolumeclaims/{VOLUME}"


def test_what_one_task_writes_the_next_one_reads(kubernetes: httpx.Client, tmp_path: Path) -> None:
    folder = tmp_path / "volume"
    folder.mkdir()
    with shared_volume(kubernetes, VOLUME, folder):
        for script in ("echo 7 > /mnt/shared/step", "test $(cat /mnt/shared/step) = 7"):
            assert run_dag(make_dag("GPUClusterPodOperator", script, shared_volume=VOLUME)).state == "success"
        claim = kubernetes.get(CLAIM).raise_for_status().json()
    assert claim["status"]["phase"] == "Bound"
    assert claim["spec"]["resources"]["requests"]["storage"] == "1Ti"
    assert (folder / "step").read_text() == "7\n"


def test_it_is_mounted_where_the_task_wants_it(kubernetes: httpx.Client, tmp_path: Path) -> None:
    folder = tmp_path / "volume"
    folder.mkdir()
    (folder / "step").write_text("7\n")
    with shared_volume(kubernetes, VOLUME, folder):
        dag = make_dag(
            "GPUClusterPodOperator", "cat /data/step", shared_volume=VOLUME, shared_volume_mount_path="/data"
        )
        assert run_dag(dag).state == "success"


def test_a_volume_that_the_cluster_does_not_have_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_dag(make_dag("GPUClusterPodOperator", "true", shared_volume=VOLUME)).state == "failed"
    assert "the cluster has no PersistentVolume of that name" in "".join(capfd.readouterr())

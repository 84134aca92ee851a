"""The whole demo, as people start it: on the emulator, and for real with the emulator in the part of Together."""

from __future__ import annotations

import io
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_provider_together.demo import run_demo
from airflow_provider_together.emulator import Emulator

pytestmark = pytest.mark.e2e

#: Simulated seconds per second: provisioning takes some five seconds, in which a sensor defers.
SPEED = 120.0

#: A DAG of somebody's own that does not give back what it has made.
FORGETFUL = """
from airflow.sdk import dag

from airflow_provider_together.operators.gpu_cluster import CreateGPUClusterOperator
from airflow_provider_together.sensors.gpu_cluster import ClusterReadySensor


@dag(schedule=None)
def forgetful():
    create = CreateGPUClusterOperator(
        task_id="create",
        region="us-central-8",
        gpu_type="H100_SXM",
        num_gpus=8,
        cluster_name="my-own-name",
        duration_days=2,
        driver_version="CUDA_12_8_570",
        billing_type="ON_DEMAND",
    )
    ClusterReadySensor(task_id="wait", cluster_id=create.output, deferrable=True, poke_interval=1)


forgetful()
"""


def test_the_demo_shows_the_whole_job_and_leaves_no_cluster() -> None:
    stream = io.StringIO()
    status = run_demo(speed=SPEED, price_per_gpu_hour=2.0, api="compute", stream=stream)
    text = stream.getvalue()
    assert status == 0, text
    seen = [" ".join(line.split()[1:3]) for line in text.splitlines() if line.startswith("  ")]
    assert seen.index("h100.create deferred") < seen.index("cluster READY") < seen.index("h100.train deferred")
    assert seen.index("h100.train success") < seen.index("h100.delete success")
    assert "at 2.00 per GPU-hour" in text
    assert re.search(r"nodes +2\n", text)
    assert text.splitlines()[-1] == "0 clusters left"


def test_live_what_a_dag_forgets_is_given_back_and_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    dag_file = tmp_path / "forgetful.py"
    dag_file.write_text(FORGETFUL)
    stream = io.StringIO()
    with Emulator(speed=SPEED, api_key="sk-live-canary") as together:
        monkeypatch.setenv("AIRFLOW_CONN_TOGETHER_DEFAULT", together.connection(api="tcloud"))
        status = run_demo(live=True, dag_file=dag_file, stream=stream, ask=_typing("rent 8 GPUs for up to 48 hours"))
        assert together.alive() == []
        (made,) = together.clusters()
    text = stream.getvalue()
    assert status == 1, text
    assert made.cluster_name == "my-own-name"
    assert f"Cluster {made.cluster_id} is alive (READY)." in text
    assert f"Deleting {made.cluster_id}" in text
    assert text.splitlines()[-1] == "0 clusters left"
    assert "sk-live-canary" not in text


def test_live_a_signal_gives_the_cluster_back(monkeypatch: pytest.MonkeyPatch) -> None:
    class Impatient(io.StringIO):
        """Ends the process politely as soon as the cluster is on its way."""

        def write(self, text: str) -> int:
            written = super().write(text)
            if "h100.create" in text and "deferred" in text:
                os.kill(os.getpid(), signal.SIGTERM)
            return written

    stream = Impatient()
    handler = signal.getsignal(signal.SIGTERM)
    # So slow that it is never READY by itself.
    with Emulator(speed=10.0, delete_takes=1.0) as together:
        monkeypatch.setenv("AIRFLOW_CONN_TOGETHER_DEFAULT", together.connection(api="compute"))
        status = run_demo(live=True, stream=stream, ask=_typing("rent 16 GPUs for up to 24 hours"))
        assert together.alive() == []
        assert len(together.clusters()) == 1
    assert status == 130, stream.getvalue()
    assert "0 clusters left" in stream.getvalue()
    assert signal.getsignal(signal.SIGTERM) is handler


def test_live_nothing_is_started_without_the_words(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    with Emulator(speed=SPEED) as together:
        monkeypatch.setenv("AIRFLOW_CONN_TOGETHER_DEFAULT", together.connection(api="tcloud"))
        status = run_demo(live=True, stream=stream, ask=_typing("yes"))
        assert together.requests == []
    assert status == 2
    assert "Starting" not in stream.getvalue()


def _typing(words: str) -> Callable[[str], str]:
    return lambda _prompt: words

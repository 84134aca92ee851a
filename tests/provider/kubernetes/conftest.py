"""A GPU cluster that is READY, and whose Kubernetes really runs the commands of its containers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_provider_together.api.specs import ClusterSpec
from airflow_provider_together.emulator import Emulator
from airflow_provider_together.emulator.kubernetes.handle import KubernetesHandle
from airflow_provider_together.hooks.together import TogetherHook
from tests.conftest import SPEED
from tests.provider.kubernetes.support import VOLUME
from tests.provider.test_hook import SPEC


@pytest.fixture
def api() -> str:
    """One dialect is enough here: what differs between them has been read when Kubernetes is reached."""
    return "tcloud"


@pytest.fixture
def emulator(api: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    with Emulator(speed=SPEED, kubernetes=True) as running:
        monkeypatch.setenv("AIRFLOW_CONN_TOGETHER_DEFAULT", running.connection(api=api))
        yield running


@pytest.fixture
def make_cluster(emulator: Emulator) -> Callable[..., str]:
    """Make a cluster of so many nodes and return its id once it is READY."""

    def make(*, nodes: int = 2, **changes: Any) -> str:
        volume = {"volume_name": VOLUME, "size_tib": 1}
        spec = {**SPEC, "num_gpus": 8 * nodes, "shared_volume": volume, **changes}
        given = {name: value for name, value in spec.items() if value is not None}
        cluster = TogetherHook().create_gpu_cluster(ClusterSpec.parse(given))
        emulator.advance(3600)
        return cluster.cluster_id

    return make


@pytest.fixture
def cluster_id(make_cluster: Callable[..., str]) -> str:
    return make_cluster()


@pytest.fixture
def kubernetes(emulator: Emulator, cluster_id: str) -> KubernetesHandle:
    return emulator.kubernetes(cluster_id)


@pytest.fixture
def output(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """Return what has been logged until now, by a task as well as by a trigger that runs in its place."""
    caplog.set_level("INFO")

    def text() -> str:
        return "\n".join([*capfd.readouterr(), caplog.text])

    return text

"""One real control plane with two nodes for all, and an emulated Together whose clusters lead to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from airflow_provider_together.emulator import Emulator
from tests.provider.test_create_operator import REQUEST, run_create
from tests.real_kubernetes.build import Binaries, provide_binaries
from tests.real_kubernetes.control_plane import ControlPlane
from tests.real_kubernetes.looking import PODS, all_pods, kept_pods, wait_until
from tests.real_kubernetes.node_agent import NodeAgent
from tests.real_kubernetes.tasks import CLUSTER_VARIABLE, KINDS, KUBECONFIG_VARIABLE, Kind
from tests.real_kubernetes.volume import VOLUME

NODES = ("gpu-worker-0", "gpu-worker-1")
_A_DAY = 24 * 3600.0


@pytest.fixture(scope="session")
def tell(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """What shows a line on the terminal, though pytest keeps what tests print."""
    reporter = pytestconfig.pluginmanager.getplugin("terminalreporter")
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    def show(line: str) -> None:
        if reporter is not None and capture is not None:
            with capture.global_and_fixture_disabled():
                reporter.write_line(line)
                reporter.flush()

    return show


@pytest.fixture(scope="session")
def binaries(tell: Callable[[str], None]) -> Binaries:
    """The servers' programs; built, where they are not in the cache."""
    return provide_binaries(tell)


@pytest.fixture(scope="session")
def control_plane(binaries: Binaries) -> Iterator[ControlPlane]:
    """Etcd, API server and controllers."""
    with ControlPlane(binaries) as running:
        yield running


@pytest.fixture(scope="session")
def nodes(control_plane: ControlPlane) -> Iterator[NodeAgent]:
    """Two nodes of eight GPUs."""
    with NodeAgent(control_plane, NODES) as running:
        yield running


@pytest.fixture
def kubernetes(control_plane: ControlPlane, nodes: NodeAgent) -> Iterator[httpx.Client]:
    """An admin's client of the control plane, which has nodes."""
    with control_plane.client() as client:
        yield client
    nodes.check()


@pytest.fixture
def together(control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """Together's API, whose clusters' kubeconfigs lead to the real server. Its time stands still."""
    with Emulator(speed=0, kube_config=control_plane.kubeconfig()) as running:
        monkeypatch.setenv("AIRFLOW_CONN_TOGETHER_DEFAULT", running.connection())
        yield running


@pytest.fixture
def cluster_id(
    together: Emulator,
    control_plane: ControlPlane,
    database: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    """A cluster that is READY, for our operator; Airflow's gets a file."""
    assert database is None
    file = tmp_path / "kubeconfig"
    file.touch(mode=0o600)
    file.write_text(control_plane.kubeconfig())
    monkeypatch.setenv(KUBECONFIG_VARIABLE, str(file))
    volume = {"volume_name": VOLUME, "size_tib": 1, "region": REQUEST["region"]}
    made = str(run_create(shared_volume=volume).value("create"))
    together.advance(_A_DAY)
    monkeypatch.setenv(CLUSTER_VARIABLE, made)
    return made


@pytest.fixture
def exchange_token(together: Emulator, control_plane: ControlPlane) -> Callable[[], None]:
    """What lets the cluster's token be another one from now on, which Together's API tells whoever asks again."""

    def publish() -> None:
        # Nobody has to set this in an emulator that has a Kubernetes of its own.
        object.__setattr__(together.options, "kube_config", control_plane.kubeconfig())

    return lambda: control_plane.rotate_token(publish)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """The operator."""
    kind: Kind = request.param
    return kind


@pytest.fixture
def clean_namespace(kubernetes: httpx.Client) -> Iterator[None]:
    """Begin without pods, and see that none is left."""
    assert all_pods(kubernetes) == []
    yield
    left = kept_pods(kubernetes)
    kubernetes.request("DELETE", PODS, params={"gracePeriodSeconds": 0})
    wait_until(lambda: all_pods(kubernetes) == [])
    assert left == []

"""Who may talk to the real cluster, and what is left when it ends: the harness itself."""

from __future__ import annotations

import ssl
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped,unused-ignore]
import pytest

from tests.real_kubernetes.build import Binaries
from tests.real_kubernetes.control_plane import ControlPlane
from tests.real_kubernetes.node_agent import NodeAgent

pytestmark = pytest.mark.real_kubernetes


def test_nobody_is_let_in_without_a_token(control_plane: ControlPlane) -> None:
    answer = httpx.get(f"{control_plane.url}/api/v1/pods", verify=control_plane.credentials.trust())
    assert answer.status_code == 401


def test_a_node_talks_to_nobody_but_the_api_server(control_plane: ControlPlane, nodes: NodeAgent) -> None:
    url = f"{nodes.url}/containerLogs/default/any/base"
    with pytest.raises(httpx.TransportError):
        httpx.get(url, verify=control_plane.credentials.trust())
    credentials = control_plane.credentials
    trust = credentials.trust()
    trust.load_cert_chain(credentials.certificate_file, credentials.key_file)
    assert httpx.get(url, verify=trust).status_code == 400


def test_nothing_is_left_of_a_control_plane(
    binaries: Binaries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with ControlPlane(binaries) as control_plane, NodeAgent(control_plane, ["node"]):
        url, servers = control_plane.url, [psutil.Process(pid) for pid in control_plane.process_ids()]
        assert len(servers) == 3
        assert len(list(tmp_path.iterdir())) == 2
    # What is dead and not yet waited for counts as running to psutil.
    assert [one for one in servers if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, verify=ssl.create_default_context())

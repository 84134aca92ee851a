"""What the emulator's Kubernetes has answers as the real server does."""

from __future__ import annotations

import base64
import secrets
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
import yaml

from airflow_provider_together.emulator import Emulator
from airflow_provider_together.hooks.together import TogetherHook
from tests.provider.test_create_operator import run_create
from tests.real_kubernetes.conformance import Ask, Server, differences
from tests.real_kubernetes.control_plane import ControlPlane
from tests.real_kubernetes.node_agent import NodeAgent
from tests.real_kubernetes.scenarios import SCENARIOS, Scenario

pytestmark = pytest.mark.real_kubernetes

_A_DAY = 24 * 3600.0


@pytest.fixture(scope="module")
def emulated(database: None) -> Iterator[Server]:
    """The Kubernetes of an emulated cluster, as its kubeconfig leads to it."""
    assert database is None
    with Emulator(speed=0, kubernetes=True) as together, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_TOGETHER_DEFAULT", together.connection())
        cluster_id = run_create().value("create")
        together.advance(_A_DAY)
        with _server(TogetherHook().get_kubeconfig(cluster_id)) as server:
            yield server


@pytest.fixture(scope="module")
def real(control_plane: ControlPlane, nodes: NodeAgent) -> Iterator[Server]:
    """The real server."""
    assert nodes is not None
    with _server(control_plane.kubeconfig()) as server:
        yield server


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_the_emulator_answers_as_the_real_server(scenario: Scenario, real: Server, emulated: Server) -> None:
    answers = []
    for server in (real, emulated):
        ask = Ask(server)
        scenario(ask)
        answers.append(ask.transcript)
    found = differences(*answers)
    assert not found, "\n".join(found)


@contextmanager
def _server(kubeconfig: str) -> Iterator[Server]:
    document = yaml.safe_load(kubeconfig)
    cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
    trust = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    trust.verify_flags |= ssl.VERIFY_X509_STRICT
    headers = {"Authorization": f"Bearer {user['token']}"}
    with httpx.Client(base_url=cluster["server"], verify=trust, headers=headers) as client:
        # The letter keeps a name a name, whatever is cut from its end.
        yield Server(client, trust, suffix=f"s{secrets.token_hex(3)}")

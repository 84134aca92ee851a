"""One real Airflow, with one emulator, for all end-to-end tests: its components take ten seconds to start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_provider_together.demo.airflow_stack import AirflowStack
from airflow_provider_together.emulator import Emulator

#: In the API key, and in the kubeconfig of every cluster: what must never be found anywhere.
CANARY_KEY = "sk-canary-key-7f3a9c"
CANARY_TOKEN = "emulated-token-"


@pytest.fixture(scope="package")
def cloud() -> Iterator[Emulator]:
    """The emulator that the real Airflow talks to: provisioning takes some five seconds."""
    with Emulator(api_key=CANARY_KEY, speed=120.0, kubernetes=True) as running:
        yield running


# Until the last of these tests only: while others run it would go on working.
@pytest.fixture(scope="package")
def stack(cloud: Emulator) -> Iterator[AirflowStack]:
    """A real scheduler with LocalExecutor, triggerer, dag-processor and api-server on SQLite."""
    connections = {
        "AIRFLOW_CONN_TOGETHER_DEFAULT": cloud.connection(api="tcloud"),
        "AIRFLOW_CONN_TOGETHER_COMPUTE": cloud.connection(api="compute"),
    }
    with AirflowStack(environment=connections) as running:
        yield running

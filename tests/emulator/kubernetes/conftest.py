"""An emulator with its Kubernetes side for all tests, and a cluster of two nodes for each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_together.emulator import Emulator
from tests.emulator.kubernetes.lab import Lab

#: Simulated time is real time, and takes none where nothing happens but waiting.
INSTANT: dict[str, Any] = {"speed": 1, "ready_after": 0, "resize_takes": 0, "delete_takes": 0, "volume_takes": 0}


@pytest.fixture(scope="session")
def cloud() -> Iterator[Emulator]:
    with Emulator(kubernetes=True, **INSTANT) as emulator:
        yield emulator


@pytest.fixture
def lab(cloud: Emulator) -> Iterator[Lab]:
    lab = Lab(cloud)
    yield lab
    lab.delete_cluster()
    lab.close()

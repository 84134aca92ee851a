"""An emulator with its Kubernetes side for all tests, and a cluster of two nodes for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from airflow_provider_together.emulator import Emulator
from tests.emulator.kubernetes.lab import Lab

MakeLab = Callable[..., Lab]
#: Simulated time is real time, and takes none where nothing happens but waiting.
INSTANT: dict[str, Any] = {"speed": 1, "ready_after": 0, "resize_takes": 0, "delete_takes": 0, "volume_takes": 0}


@pytest.fixture(scope="session")
def cloud() -> Iterator[Emulator]:
    with Emulator(kubernetes=True, **INSTANT) as emulator:
        yield emulator


@pytest.fixture
def make_lab(cloud: Emulator) -> Iterator[MakeLab]:
    """Make clusters, by default in the emulator of all tests, which are given back in the end."""
    with ExitStack() as stack:

        def make(emulator: Emulator = cloud, **options: Any) -> Lab:
            lab = Lab(emulator, **options)
            stack.callback(lab.close)
            return lab

        yield make


@pytest.fixture
def lab(make_lab: MakeLab) -> Lab:
    return make_lab()

"""Emulators whose time stands still until a test moves it, and HTTP clients of both dialects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from airflow_provider_together.emulator import Emulator
from tests.contract.schema import DialectName
from tests.emulator.wire import Wire

Start = Callable[..., Emulator]
Connect = Callable[..., Wire]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start emulators with options of a test's own; simulated time stands still, ids are the same in every run."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(Emulator(**{"speed": 0, "seed": 7, **options}))


@pytest.fixture(scope="session")
def shared() -> Iterator[Emulator]:
    """One emulator for all tests that need no options: a server of its own for each would take a fifth of a second."""
    with Emulator(speed=0, seed=7) as emulator:
        yield emulator


@pytest.fixture
def emulator(shared: Emulator) -> Emulator:
    shared.reset()
    return shared


@pytest.fixture(params=["tcloud", "compute"])
def dialect(request: pytest.FixtureRequest) -> DialectName:
    name: DialectName = request.param
    return name


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Connect clients to emulators: ``connect(emulator, "tcloud")``."""
    with ExitStack() as stack:

        def make(emulator: Emulator, dialect: DialectName, **options: Any) -> Wire:
            return stack.enter_context(Wire(emulator, dialect, **options))

        yield make


@pytest.fixture
def wire(emulator: Emulator, dialect: DialectName, connect: Connect) -> Wire:
    return connect(emulator, dialect)


@pytest.fixture
def tcloud(emulator: Emulator, connect: Connect) -> Wire:
    return connect(emulator, "tcloud")


@pytest.fixture
def compute(emulator: Emulator, connect: Connect) -> Wire:
    return connect(emulator, "compute")

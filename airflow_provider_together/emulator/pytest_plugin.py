"""
A pytest fixture for the tests of those who use this package.

Put ``pytest_plugins = ["airflow_provider_together.emulator.pytest_plugin"]`` into the topmost ``conftest.py``. It is a
module of its own because it is the only one that imports pytest.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_together.emulator.server import Emulator


@pytest.fixture
def together_emulator_options() -> dict[str, Any]:
    """Return the options of the emulator; override this fixture to change them."""
    return {}


@pytest.fixture
def together_emulator(together_emulator_options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """Run an emulator during one test, behind the connection ``together_default``."""
    with Emulator(**together_emulator_options) as emulator:
        monkeypatch.setenv("AIRFLOW_CONN_TOGETHER_DEFAULT", emulator.connection())
        yield emulator

"""
Fixtures of the tests below ``api``, ``lifecycle`` and ``waiting``.

Both dialects, both drivers, and no proxy of this machine.
"""

from __future__ import annotations

import os

import pytest

from airflow_provider_together.api.dialects import Dialect
from tests.support.driving import Driving
from tests.support.engine import BOTH, dialect_named


@pytest.fixture(params=BOTH)
def dialect_name(request: pytest.FixtureRequest) -> str:
    """The name of either dialect."""
    name: str = request.param
    return name


@pytest.fixture
def dialect(dialect_name: str) -> Dialect:
    """Either dialect."""
    return dialect_named(dialect_name)


@pytest.fixture(params=["sync", "async"])
def driving(request: pytest.FixtureRequest) -> Driving:
    """Either driver, with a sleep that only takes notes."""
    return Driving(request.param)


@pytest.fixture(autouse=True)
def _no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may sit behind a proxy, with certificates of its own; the tests set theirs."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name in {"SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"}:
            monkeypatch.delenv(name)

"""The site for all tests here, and Airflow's connections to it. Where Slurm is not installed the tests fail."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from airflow_provider_together.emulator import Emulator
from airflow_provider_together.hooks.slurm import SlurmHook
from airflow_provider_together.runtime.login_host import Address, address_in, connection_of
from tests.conftest import SPEED
from tests.slurm.site import Site, slurm_site

CONNECTION = "slurm_login"


@pytest.fixture(scope="session")
def running_site() -> Iterator[Site]:
    with slurm_site() as site:
        yield site
    assert site.leftovers() == []


@pytest.fixture
def site(running_site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """The site, behind an Airflow connection."""
    connect(monkeypatch, running_site)
    yield running_site
    running_site.cancel_all()


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """Together, behind the default connection."""
    with Emulator(speed=SPEED) as emulator:
        monkeypatch.setenv("AIRFLOW_CONN_TOGETHER_DEFAULT", emulator.connection())
        yield emulator


@pytest.fixture
def address(site: Site) -> Address:
    del site
    return address_of()


def connect(monkeypatch: pytest.MonkeyPatch, site: Site, **extra: str) -> None:
    """Define the Airflow connection to a site."""
    monkeypatch.setenv(f"AIRFLOW_CONN_{CONNECTION.upper()}", json.dumps(site.connection(**extra)))


def address_of() -> Address:
    """Return the address in the Airflow connection."""
    return Address(ssh_conn_id=CONNECTION).completed(address_in(connection_of(CONNECTION)))


def hook_of(address: Address) -> SlurmHook:
    """Return a hook that enters the site."""
    return SlurmHook(address, connection_of(CONNECTION))

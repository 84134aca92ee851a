"""
A throw-away Airflow home for the whole run, set before anything imports Airflow, and the emulator in front of it.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_together.emulator import Emulator

if TYPE_CHECKING:
    from xdist.scheduler import LoadFileScheduling

_home = tempfile.TemporaryDirectory(prefix="together-tests-")
HOME = Path(_home.name)

for _name in [name for name in os.environ if name.startswith(("AIRFLOW_", "TOGETHER_"))]:
    del os.environ[_name]
os.environ.update(
    {
        "AIRFLOW_HOME": str(HOME),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__DAGS_FOLDER": str(HOME / "dags"),
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
        "NO_PROXY": "127.0.0.1,localhost",
    }
)
(HOME / "dags").mkdir()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    """Let one of several processes run all that starts a real Airflow: it is long, mostly waits, and starts once."""
    from xdist.scheduler import LoadFileScheduling

    class OneAirflow(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return "a real Airflow" if nodeid.startswith("tests/e2e/") else super()._split_scope(nodeid)

    config.option.loadscopereorder = False  # not the files with the most tests first, which are quick
    return OneAirflow(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files that take long first, so that at the end no process is left with one while the others are done."""
    run_dags = {item.path for item in items if "database" in getattr(item, "fixturenames", ())}

    def rank(item: pytest.Item) -> int:
        if item.nodeid.startswith("tests/e2e/"):
            return 0
        return 1 if item.path in run_dags or item.nodeid.startswith("tests/histories/") else 2

    items.sort(key=rank)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse tests that share an id: of those several processes would run one, and nobody would notice."""
    shared = [node_id for node_id, number in Counter(item.nodeid for item in session.items).items() if number > 1]
    if shared:
        message = f"more than one test has the id {', '.join(shared)}"
        raise pytest.UsageError(message)


@pytest.fixture(autouse=True)
def _no_ambient_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOGETHER_API_KEY", raising=False)


#: Simulated seconds per second: ten minutes of provisioning take a third of a second.
SPEED = 1800.0


@pytest.fixture(scope="session")
def database() -> None:
    """Airflow's metadata database, made once."""
    from airflow.utils.db import initdb

    initdb()


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test of what is the same in both dialects in one of them, see the markers."""
    marks = metafunc.definition  # a mark, as others see it who would give the fixture its parameters
    if (
        "api" in metafunc.fixturenames
        and marks.get_closest_marker("one_api")
        and not marks.get_closest_marker("both_apis")
        and not any(mark.args[0] == "api" for mark in marks.iter_markers("parametrize"))
    ):
        marks.add_marker(pytest.mark.parametrize("api", ["tcloud"], indirect=True))


@pytest.fixture(params=["tcloud", "compute"])
def api(request: pytest.FixtureRequest) -> str:
    """The dialect of the connection."""
    return str(request.param)


@pytest.fixture
def emulator(api: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """The emulator, behind the default connection in the given dialect."""
    with Emulator(speed=SPEED) as running:
        monkeypatch.setenv("AIRFLOW_CONN_TOGETHER_DEFAULT", running.connection(api=api))
        yield running

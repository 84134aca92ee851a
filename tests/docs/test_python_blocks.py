"""Every block of Python on the pages works: DAGs are parsed and, without a training, run; tests are run as well."""

from __future__ import annotations

import importlib
import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_together.emulator import Emulator, pytest_plugin
from tests.conftest import HOME, SPEED
from tests.docs.pages import Block, blocks
from tests.support.dag_runs import dag_bag

#: With these a DAG needs an image or a login host: it is parsed only. ``tests/test_examples.py`` runs such DAGs.
TRAININGS = ("GPUClusterJobOperator", "GPUClusterPodOperator", "GPUClusterSlurmOperator")


def title(block: Block) -> str:
    return block.notes.get("title") or f"dags/{block.page.stem}_{block.line}.py"


PYTHON = blocks("python")
DAGS = [block for block in PYTHON if title(block).startswith("dags/")]
TESTS = [block for block in PYTHON if title(block).startswith("test_")]
CONFTESTS = [block for block in PYTHON if title(block) == "conftest.py"]
#: Those that no test on a page runs.
ALONE = [block for block in DAGS if "title" not in block.notes and not any(name in block.text for name in TRAININGS)]


def write(block: Block, folder: Path) -> Path:
    path = folder / title(block)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert not path.exists(), f"two blocks are titled {title(block)}"
    path.write_text(block.text)
    return path


@pytest.fixture
def project(database: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:  # noqa: ARG001 - is made first
    """The files of the pages as a project, whose ``dags`` are Airflow's folder of DAGs."""
    written = [write(block, HOME) for block in DAGS + TESTS]
    monkeypatch.syspath_prepend(str(HOME))
    yield HOME
    for path in written:
        path.unlink()
        sys.modules.pop(path.stem, None)
        sys.modules.pop(f"dags.{path.stem}", None)
    sys.modules.pop("dags", None)


@pytest.fixture
def together_emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """What the plugin's fixture of this name is, at the speed of ``conftest.py`` on the page."""
    with Emulator(speed=SPEED) as running:
        monkeypatch.setenv("AIRFLOW_CONN_TOGETHER_DEFAULT", running.connection())
        yield running


@pytest.mark.parametrize("block", DAGS, ids=str)
def test_a_dag_has_no_import_errors(block: Block, tmp_path: Path) -> None:
    bag = dag_bag(write(block, tmp_path))
    assert bag.import_errors == {}
    assert len(bag.dags) == 1


@pytest.mark.parametrize("block", ALONE, ids=str)
def test_a_dag_without_a_training_succeeds_and_leaves_no_cluster(
    block: Block, project: Path, together_emulator: Emulator
) -> None:
    (dag,) = dag_bag(project / title(block)).dags.values()
    for task in dag.tasks:
        for name in {"poke_interval", "poll_interval"} & set(vars(task)):
            setattr(task, name, 0.05)
    assert dag.test().state == "success"
    assert together_emulator.alive() == []


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("block", TESTS, ids=str)
def test_a_test_on_a_page_passes(block: Block, request: pytest.FixtureRequest) -> None:
    module = importlib.import_module(Path(title(block)).stem)
    tests: list[Any] = [value for name, value in vars(module).items() if name.startswith("test_")]
    assert tests
    for test in tests:
        test(**{name: request.getfixturevalue(name) for name in inspect.signature(test).parameters})


def test_conftest_on_the_page_gives_the_fixture(tmp_path: Path) -> None:
    (conftest,) = CONFTESTS
    write(conftest, tmp_path)
    assert pytest_plugin.__name__ in conftest.text
    test = "def test_it(together_emulator):\n    assert together_emulator.options.speed == 1800\n"
    (tmp_path / "test_it.py").write_text(test)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # which a worker of xdist has loaded
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_block_is_left_out() -> None:
    assert [str(block) for block in PYTHON if block not in DAGS + TESTS + CONFTESTS] == []
    assert [str(block) for block in blocks("py", "python3", "")] == []

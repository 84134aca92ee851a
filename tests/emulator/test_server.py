"""Starting and stopping an emulator: in Python, from the shell, in pytest; and what it needs to be imported."""

from __future__ import annotations

import ast
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

import airflow_provider_together.emulator as package
from airflow_provider_together.emulator import Emulator
from tests.emulator.conftest import Connect, Start

FOLDER = Path(package.__file__).parent
COMMAND = (sys.executable, "-m", "airflow_provider_together.emulator")


@contextmanager
def running(*arguments: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the command, and give the process and the address in its first line."""
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )
    try:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        assert found is not None
        yield process, found[0]
    finally:
        process.kill()
        process.communicate(timeout=20)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_until_it_is_told_to_stop(number: signal.Signals) -> None:
    with running("--speed", "0") as (process, url):
        headers = {"Authorization": "Bearer emulator-key"}
        assert httpx.get(f"{url}/api/v1/gpu_clusters", headers=headers, trust_env=False).json() == {"clusters": []}
        process.send_signal(number)
        assert process.wait(timeout=20) == 0


def test_the_command_prints_the_key_that_everybody_knows_and_no_other() -> None:
    with running("--api-key", "canary") as (process, _):
        process.terminate()
        assert process.stdout is not None
        assert "canary" not in process.stdout.read()
    with running() as (process, _):
        process.terminate()
        assert process.stdout is not None
        assert "emulator-key" in process.stdout.read()


def test_the_key_can_come_from_the_environment() -> None:
    with running(TOGETHER_EMULATOR_API_KEY="canary") as (_, url):
        headers = {"Authorization": "Bearer canary"}
        assert httpx.get(f"{url}/v1/compute/regions", headers=headers, trust_env=False).status_code == 200


def test_the_command_takes_regions_and_stock() -> None:
    arguments = ("--region", "moon-1", "--capacity", "moon-1:H100_SXM=8", "--seed", "3", "--error-format", "rpc")
    with running(*arguments) as (_, url):
        headers = {"Authorization": "Bearer emulator-key"}
        body = {
            "region": "moon-1",
            "gpu_type": "H100_SXM",
            "num_gpus": 16,
            "cluster_name": "c",
            "duration_days": 1,
            "billing_type": "ON_DEMAND",
            "driver_version": "CUDA_12_8_570",
        }
        answer = httpx.post(f"{url}/api/v1/gpu_cluster", json=body, headers=headers, trust_env=False)
        assert answer.status_code == 409
        assert answer.json()["message"].startswith("Out of stock")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--host", "0.0.0.0"), "host='0.0.0.0' can be reached from other machines"),  # noqa: S104 - refused
        (("--host", "example.org"), "host='example.org'"),
        (("--capacity", "us-central-8:H100_SXM"), "write REGION:GPU_TYPE=GPUS"),
        (("--capacity", "us-central-8:H100=8"), "capacity='us-central-8:H100'"),
        (("--capacity", "us-central-8:H100_SXM=9"), "multiple of 8"),
        (("--speed", "-1"), "speed=-1.0"),
        (("--api-key", ""), "api_key=''"),
    ],
)
def test_the_command_refuses_wrong_options(arguments: tuple[str, ...], message: str) -> None:
    ended = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert ended.stdout == ""


@pytest.mark.parametrize(
    "options",
    [
        {"error_format": "xml"},
        {"tcloud_status_words": "old"},
        {"regions": []},
        {"viewer_key": "emulator-key"},
        {"ready_after": float("inf")},
        {"capacity": {"us-central-8:H100_SXM": 9}},
        {"capacity": {"nowhere:H100_SXM": 8}},
        {"api_key": ""},
        {"host": "10.0.0.1"},
    ],
)
def test_wrong_options_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Emulator(**options)


def test_it_listens_only_inside_the_block() -> None:
    with Emulator() as emulator:
        address = urlsplit(emulator.url)
        socket.create_connection((address.hostname, address.port), timeout=5).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address.hostname, address.port), timeout=5)


def test_what_happened_can_be_asked_for_afterwards(connect: Connect) -> None:
    with Emulator(speed=0) as emulator:
        cluster_id = connect(emulator, "tcloud").create()
    assert [cluster.cluster_id for cluster in emulator.alive()] == [cluster_id]


def test_a_port_can_be_chosen_and_is_free_again_afterwards() -> None:
    with Emulator() as first:
        port = urlsplit(first.url).port
    with Emulator(port=port or 0) as second:
        assert second.url == first.url


def test_a_port_that_is_taken_is_an_error(emulator: Emulator) -> None:
    with pytest.raises(OSError, match="in use"):
        Emulator(port=urlsplit(emulator.url).port or 0).start()


def test_it_has_no_address_before_it_is_started() -> None:
    with pytest.raises(RuntimeError, match="with block"):
        _ = Emulator().url


def test_it_is_started_once(start: Start) -> None:
    with pytest.raises(RuntimeError, match="already"):
        start().start()


def test_a_seed_makes_the_ids_the_same_in_every_run(start: Start, connect: Connect) -> None:
    first, second, other = (connect(start(seed=seed), "tcloud").create() for seed in (1, 1, 2))
    assert first == second
    assert first != other


def test_it_imports_nothing_of_this_package_but_itself() -> None:
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                root = name.split(".")[0]
                assert root not in ("airflow", "together", "tests"), path
                if root == "airflow_provider_together":
                    assert name.startswith("airflow_provider_together.emulator"), path


def test_it_is_imported_without_airflow_and_without_a_web_framework() -> None:
    program = (
        "import sys, airflow_provider_together.emulator as e; e.Fault(status=500); e.Emulator();"
        "print([n for n in ('airflow', 'uvicorn', 'starlette', 'pydantic', 'httpx') if n in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout.strip() == "[]"


def test_pytest_users_get_a_fixture(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["airflow_provider_together.emulator.pytest_plugin"]\n')
    (tmp_path / "test_theirs.py").write_text(
        "import os\n"
        "import pytest\n"
        "@pytest.fixture\n"
        "def together_emulator_options():\n"
        "    return {'speed': 0, 'api_key': 'theirs'}\n"
        "def test_theirs(together_emulator):\n"
        "    assert together_emulator.alive() == []\n"
        "    assert 'theirs' in os.environ['AIRFLOW_CONN_TOGETHER_DEFAULT']\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(FOLDER.parents[1])}
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env=environment, cwd=tmp_path
    )
    assert "1 passed" in ended.stdout

"""
What one Get of a cluster costs the process that asks: CPU microseconds a call, over one kept connection.

The hook checks the answer and makes a model of it; httpx gives JSON; the official SDK, which speaks the newer API only,
gives a model too. Nobody logs: at
level INFO httpx writes a line for each request, which the hook keeps from it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from tests.benchmarks.processes import Control, connections, serving
from tests.benchmarks.report import Subject
from tests.benchmarks.server import cluster_id

_CLUSTER = cluster_id(99)  # READY, with a kubeconfig
_ROUNDS, _CALLS = 25, 40

pytestmark = pytest.mark.benchmark(group="get", timer=time.process_time)


@pytest.fixture(scope="module")
def table(new_subject: Callable[[Subject], Subject]) -> Subject:
    says = "CPU of one Get of a READY cluster (3.3 kB), in this process alone; medians."
    return new_subject(Subject("One Get", says, "hook", ("CPU µs",)))


@pytest.fixture(scope="module")
def quick_server() -> Iterator[Control]:
    with serving(10, delay=0.0) as control:
        yield control


@pytest.fixture(autouse=True)
def _quiet(quick_server: Control, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    for name, value in connections(quick_server.port).items():
        monkeypatch.setenv(name, value)


def _measure(row: str, get: Callable[[], Any], benchmark: Any, table: Subject) -> None:
    benchmark.pedantic(get, rounds=_ROUNDS, iterations=_CALLS, warmup_rounds=2)
    if benchmark.stats is not None:  # none with --benchmark-disable
        stats = benchmark.stats.stats
        benchmark.extra_info["cpu_us"] = 1e6 * stats.median
        table.add(row, {"CPU µs": 1e6 * stats.median, "least": 1e6 * stats.min})


@pytest.mark.parametrize(("row", "connection"), [("hook", "together_default"), ("hook, newer API", "together_compute")])
def test_the_hook(row: str, connection: str, benchmark: Any, table: Subject) -> None:
    from airflow_provider_together.hooks.together import TogetherHook

    hook = TogetherHook(connection)
    assert hook.get_gpu_cluster(_CLUSTER).cluster_id == _CLUSTER
    _measure(row, partial(hook.get_gpu_cluster, _CLUSTER), benchmark, table)


def test_a_shared_httpx_client(quick_server: Control, benchmark: Any, table: Subject) -> None:
    import httpx

    headers = {"Authorization": "Bearer key"}
    with httpx.Client(base_url=f"http://127.0.0.1:{quick_server.port}", headers=headers) as client:

        def get() -> Any:
            return client.get(f"/api/v1/gpu_cluster/{_CLUSTER}").raise_for_status().json()

        assert get()["cluster_id"] == _CLUSTER
        _measure("httpx.Client, JSON", get, benchmark, table)


def test_the_official_sdk(quick_server: Control, benchmark: Any, table: Subject) -> None:
    together: Any = pytest.importorskip("together")
    with together.Together(api_key="key", base_url=f"http://127.0.0.1:{quick_server.port}") as client:
        assert client.clusters.retrieve(_CLUSTER).cluster_id == _CLUSTER
        _measure(f"together {together.__version__}", partial(client.clusters.retrieve, _CLUSTER), benchmark, table)

"""
Ten thousand wait for the price of one.

- CPU: microseconds of the triggerer's CPU for one trigger and one poll interval, without the idle loop.
- requests: to the API in one interval, by all of them.
- lag p99, max: how late the event loop wakes a task that sleeps 10 ms; a triggerer is alive only while this is small.
- seen p50, p99: from READY to the trigger's event. With any polling, one interval is the least that p99 can be.
- waited for CPU: share of the time in which the loop was ready to run and no core was free, taken with the lag. Where
  it is not near 0, other programs are in the figures for lag and seen.
- start CPU: microseconds to start one.
- memory: resident bytes that one more waiter adds, allocator and all; kept: of that, what tracemalloc counts once
  garbage is collected. What a trigger keeps that asks nobody is Airflow's and asyncio's.

500 READY clusters that nobody waits for are in the list as well. While nothing in a list changes, ours does not decode
it; in the row "lists change" no two lists are the same, so that each is decoded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.benchmarks.peers import Peer
from tests.benchmarks.processes import measured, serving
from tests.benchmarks.report import Subject

_BYSTANDERS = 500
#: Seconds for one measured process, whatever it does.
_LIMIT = 600.0
#: Under tracemalloc a process is slow: of the peers that ask one by one no more than these can keep their interval.
_COUNTED = 1000


def _row(name: str, count: int) -> str:
    return f"{name}, {count:,} wait"


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest, new_subject: Callable[[Subject], Subject]) -> Subject:
    config = request.config
    says = f"Triggers that wait in one event loop; poll interval {config.getoption('interval'):g} s."
    baseline = _row("ours", config.getoption("waiting"))
    compared = ("CPU µs", "requests", "lag p99 ms", "seen p99 s")
    return new_subject(Subject("Trigger density", says, baseline, compared))


@pytest.fixture(scope="module")
def memory_table(new_subject: Callable[[Subject], Subject]) -> Subject:
    says = "What one more trigger that waits keeps, without garbage (tracemalloc, between one and N)."
    return new_subject(Subject("Memory of a waiter", says, _row("ours", _COUNTED), ("kept bytes",)))


@pytest.mark.parametrize(
    ("name", "option", "is_restless"),
    [
        ("ours", "waiting", False),
        ("ours", "waiting_ours", False),
        ("ours", "waiting_ours", True),
        ("http", "waiting", False),
        ("databricks", "waiting", False),
    ],
)
def test_triggers_wait_in_one_event_loop(
    name: str,
    option: str,
    is_restless: bool,
    installed: Callable[[str], Peer],
    request: pytest.FixtureRequest,
    table: Subject,
) -> None:
    peer, count, interval = installed(name), request.config.getoption(option), request.config.getoption("interval")
    with serving(count, bystanders=_BYSTANDERS) as control:
        figures = measured(
            "density",
            port=control.port,
            limit=_LIMIT,
            peer=name,
            count=count,
            interval=interval,
            is_restless=is_restless,
        )
    row = _row(name, count) + (", lists change" if is_restless else "")
    table.add(row, _shown(figures, count) | {"version": peer.version})
    assert figures["early"] == 0
    if name == "ours":
        assert (figures["events"], figures["failure"]) == (count, "")


def _shown(figures: dict[str, Any], count: int) -> dict[str, Any]:
    return {
        "CPU µs": 1e6 * figures["cpu"],
        "requests": figures["requests"],
        "lag p99 ms": 1e3 * figures["lag_p99"],
        "lag max ms": 1e3 * figures["lag_max"],
        "seen p50 s": figures["seen_p50"],
        "seen p99 s": figures["seen_p99"],
        "waited for CPU %": None if figures["waited"] is None else 100 * figures["waited"],
        "events": f"{figures['events']:,} of {count:,}",
        "start CPU µs": 1e6 * figures["start_cpu"],
        "memory bytes": figures["memory"],
    }


@pytest.mark.parametrize("name", ["ours", "http", "databricks", "nothing"])
def test_a_trigger_that_waits_keeps_memory(
    name: str, installed: Callable[[str], Peer], request: pytest.FixtureRequest, memory_table: Subject
) -> None:
    if name != "nothing":
        installed(name)
    _count_memory(name, _COUNTED, request, memory_table)


def test_ten_thousand_keep_memory(request: pytest.FixtureRequest, memory_table: Subject) -> None:
    _count_memory("ours", request.config.getoption("waiting_ours"), request, memory_table)


def _count_memory(name: str, count: int, request: pytest.FixtureRequest, table: Subject) -> None:
    interval = request.config.getoption("interval")
    with serving(count, bystanders=_BYSTANDERS) as control:
        figures = measured("memory", port=control.port, limit=_LIMIT, peer=name, count=count, interval=interval)
    table.add(_row(name, count), {"kept bytes": figures["kept"]})

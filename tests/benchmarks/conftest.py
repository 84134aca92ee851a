"""
Options, the server, and the tables that end the run.

A test of this folder runs one scenario and leaves its figures to a table. It asserts no time, and counts only where a
wrong one would make the figures worthless.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from importlib.metadata import version

import pytest

from tests.benchmarks.peers import PEERS, Peer
from tests.benchmarks.processes import Control, measured, serving
from tests.benchmarks.report import Subject

_subjects: list[Subject] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("benchmarks of airflow-provider-together")
    group.addoption("--waiting", type=int, default=2000, help="how many wait, for all peers")
    group.addoption("--waiting-ours", type=int, default=10_000, help="how many wait once more, for ours alone")
    group.addoption("--interval", type=float, default=5.0, help="poll interval, in seconds")
    group.addoption("--fault", type=float, default=15.0, help="how long the server fails, in seconds")
    group.addoption("--rounds", type=int, default=3, help="fresh processes for each figure of a sensor or an import")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    shown = [subject for subject in _subjects if subject.rows]
    if not shown:
        return
    system = f"{platform.system()} on {platform.machine()}, {os.cpu_count()} cores"
    load = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    terminalreporter.write_line("")
    terminalreporter.write_line(f"Python {platform.python_version()}, Airflow {version('apache-airflow')}, {system}.")
    terminalreporter.write_line(f"Load of the last 1, 5 and 15 minutes: {load}; the benchmarks alone make about 1.")
    for subject in shown:
        for line in subject.lines():
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def new_subject() -> Callable[[Subject], Subject]:
    """What enters a table among those that are printed."""

    def enter(subject: Subject) -> Subject:
        _subjects.append(subject)
        return subject

    return enter


@pytest.fixture(scope="session", autouse=True)
def warm() -> None:
    """The first process of all writes Airflow's configuration and compiles modules; it is not measured."""
    for peer in PEERS.values():
        if peer.version:
            measured("imports", limit=120, modules=peer.modules)


@pytest.fixture
def server() -> Iterator[Control]:
    """A server with ten clusters that wait; all others are READY."""
    with serving(10) as control:
        yield control


@pytest.fixture(scope="session")
def installed() -> Callable[[str], Peer]:
    """What returns a peer, or skips the test."""

    def find(name: str) -> Peer:
        peer = PEERS[name]
        if not peer.version:
            pytest.skip(f"{peer.distribution} is not installed: see tests/benchmarks/__init__.py")
        return peer

    return find

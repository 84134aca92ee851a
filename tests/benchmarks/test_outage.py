"""
The API fails while thousands wait: for a while all answers are 429 with Retry-After, or 503.

- requests: to the API while it fails. Each of them makes the outage of a busy server longer.
- CPU: share of one core that the triggerer takes meanwhile.
- early: events while nobody could know that a cluster is READY; must be 0.
- events: of all who wait, once the server answers again; a missing one is a task that the outage has failed.
- last: seconds from the end of the fault until the last event. Who leaves a failing server alone comes back later.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.benchmarks.peers import Peer
from tests.benchmarks.processes import measured, serving
from tests.benchmarks.report import Subject

_LIMIT = 600.0
_BYSTANDERS = 500
#: Seconds that a 429 asks for; a 503 asks for none.
_RETRY_AFTER = {429: 10.0, 503: 0.0}


@pytest.fixture(scope="module", params=[429, 503])
def status(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def table(status: int, request: pytest.FixtureRequest, new_subject: Callable[[Subject], Subject]) -> Subject:
    config = request.config
    asked = f" with Retry-After: {_RETRY_AFTER[status]:g}" if _RETRY_AFTER[status] else ""
    says = (
        f"All answers are {status}{asked} for {config.getoption('fault'):g} s while {config.getoption('waiting'):,} "
        f"wait; poll interval {config.getoption('interval'):g} s."
    )
    return new_subject(Subject(f"An outage ({status})", says, "ours", ("requests", "CPU %")))


@pytest.mark.parametrize("name", ["ours", "http", "databricks"])
def test_the_api_fails_while_they_wait(
    name: str, status: int, installed: Callable[[str], Peer], request: pytest.FixtureRequest, table: Subject
) -> None:
    peer, count, option = installed(name), request.config.getoption("waiting"), request.config.getoption
    with serving(count, bystanders=_BYSTANDERS) as control:
        figures = measured(
            "outage",
            port=control.port,
            limit=_LIMIT,
            peer=name,
            count=count,
            interval=option("interval"),
            status=status,
            seconds=option("fault"),
            retry_after=_RETRY_AFTER[status],
        )
    shown = {
        "requests": figures["requests"],
        "CPU %": 100 * figures["cpu"],
        "early": figures["early"],
        "events": f"{figures['events']:,} of {count:,}",
        "last s": figures["last"],
        "version": peer.version,
    }
    table.add(name, shown)
    if name == "ours":
        assert (figures["early"], figures["events"], figures["failure"]) == (0, count, "")

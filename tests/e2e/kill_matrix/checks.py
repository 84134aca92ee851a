"""The comparison of what was observed of a row with what it says; the same for the full matrix and the short one."""

from __future__ import annotations

from tests.e2e.kill_matrix.director import Observed
from tests.e2e.kill_matrix.row import ANY, Row


def check(row: Row, observed: Observed) -> None:
    """Fail with the row's story if it is not as expected."""
    assert observed.trouble == "", f"{row.sentence}: {observed.trouble}\n{observed.story}"
    expected = row.expected
    run = observed.run if expected.run == ANY else expected.run
    wanted = {"made": expected.made, "settled": expected.settled, "swept": expected.swept, "run": run}
    found = {name: getattr(observed, name) for name in wanted}
    assert found == wanted, f"{row.sentence}\n{observed.story}"

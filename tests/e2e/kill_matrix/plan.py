"""
Which rows there are, in the order of the table, and which of them are played together.

Separate from the rows, which do not know each other, and from the tests, of which there are two: all rows on the
distributed Airflow, and a few on the small one.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

from tests.e2e.kill_matrix.director import Group
from tests.e2e.kill_matrix.row import Row
from tests.e2e.kill_matrix.rows import blocks, cloud, runs, schedulers, triggerers, waiting, workers


def rows_of(*modules: ModuleType) -> list[Row]:
    """Return the rows of some modules, in the order in which they are written."""
    return [value for module in modules for value in vars(module).values() if isinstance(value, Row)]


#: All rows, in the order of the table.
ROWS: Sequence[Row] = tuple(rows_of(waiting, runs, cloud, workers, triggerers, schedulers, blocks))

#: Those of the README's test command: they kill no component.
SHORT: Sequence[Row] = (
    waiting.busy_sigterm,
    waiting.busy_sigkill,
    waiting.busy_sigkill_last,
    waiting.deferred_failed,
    waiting.busy_cleared,
    waiting.deferral_timeout,
    runs.run_success_in_work,
    cloud.delete_fails_once,
    blocks.block_sigkill_last,
    blocks.block_marked_success,
    blocks.block_cleared,
    blocks.block_run_failed,
)

#: What is played one after the other; what stands together is played at the same time. A component that dies strikes
#: all runs, except for the worker that has a queue of its own.
ACTS: Sequence[Sequence[Group]] = (
    (
        # First those whose time runs from the start of the run.
        Group(sorted(rows_of(waiting, runs, cloud), key=lambda row: row.shape.timeout is None)),
        Group(rows_of(blocks)),
        Group(rows_of(workers), strike=workers.strike),
    ),
    (Group(triggerers.KILLED, strike=triggerers.strike),),
    (Group([triggerers.triggerer_stalls], strike=triggerers.stall),),
    (Group([triggerers.marked_unheard]),),
    (Group(rows_of(schedulers), strike=schedulers.strike),),
)

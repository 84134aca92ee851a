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


def in_blocks(rows: Sequence[Row]) -> list[Row]:
    """Return these rows in a block, as far as they can happen there."""
    return [blocks.in_block(row) for row in rows if blocks.fits_a_block(row)]


_BY_HAND: Sequence[Row] = tuple(rows_of(waiting, runs, cloud, workers, triggerers, schedulers))

#: All rows, in the order of the table.
ROWS: Sequence[Row] = (*_BY_HAND, *in_blocks(_BY_HAND), *rows_of(blocks))

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
    *in_blocks([waiting.busy_sigkill_last, waiting.deferred_success, runs.run_failed_in_work]),
    blocks.block_cleared,
    blocks.block_report_cleared,
)


def _both(rows: Sequence[Row]) -> list[Row]:
    return [*rows, *in_blocks(rows)]


#: What is played one after the other; what stands together is played at the same time. A component that dies strikes
#: all runs, except for the worker that has a queue of its own.
ACTS: Sequence[Sequence[Group]] = (
    (
        # First those whose time runs from the start of the run.
        Group(sorted(rows_of(waiting, runs, cloud), key=lambda row: row.shape.timeout is None)),
        Group(rows_of(workers), strike=workers.strike),
    ),
    (
        Group(sorted(in_blocks(rows_of(waiting, runs, cloud)), key=lambda row: row.shape.timeout is None)),
        Group(rows_of(blocks)),
        Group(in_blocks(rows_of(workers)), strike=workers.strike),
    ),
    (Group(_both(triggerers.KILLED), strike=triggerers.strike),),
    (Group([triggerers.triggerer_stalls], strike=triggerers.stall),),
    (Group(in_blocks([triggerers.triggerer_stalls]), strike=triggerers.stall),),
    (Group([triggerers.marked_unheard]),),
    (Group(in_blocks([triggerers.marked_unheard])),),
    (Group(_both(rows_of(schedulers)), strike=schedulers.strike),),
)

"""
The rows once more, with all in the block of a task group, and what the block alone can show.

Its delete runs whatever became of its create, and finds what that has made: so no cluster is left where by hand one is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.e2e.kill_matrix.row import Expected, Row, Script, row
from tests.e2e.kill_matrix.rows.triggerers import never_gone
from tests.e2e.kill_matrix.rows.waiting import DEFERRED
from tests.e2e.kill_matrix.shapes import Shape

if TYPE_CHECKING:
    from tests.e2e.kill_matrix.scene import Scene

#: What is expected in a block, where that is not what is expected by hand but for the cluster that is left.
_EXPECTED: Mapping[str, Expected] = {
    # What stands inside needs no XCom here, and neither does the delete.
    "busy_success": Expected(0),
    "deferred_success": Expected(0),
    "delete_fails_for_ever": Expected(1, run="failed"),
}


def in_block(by_hand: Row) -> Row:
    """Return the same row in a block, whose create always waits until the cluster is READY."""
    shape = replace(by_hand.shape, is_block=True, delete={"deferrable": False, **by_hand.shape.delete})
    if by_hand.before is never_gone:
        shape, script, before = replace(shape, work="held"), _once_ready(by_hand.script), None
    else:
        script, before = by_hand.script, by_hand.before
    return replace(
        by_hand,
        key=f"block_{by_hand.key}",
        sentence=f"in a block, {by_hand.sentence}",
        shape=shape,
        script=script,
        before=before,
        expected=_EXPECTED.get(by_hand.key, replace(by_hand.expected, settled=0)),
        gets_ready="wait_for_completion" not in by_hand.shape.create,
    )


def fits_a_block(by_hand: Row) -> bool:
    """Whether a row can happen in a block: there create waits itself, and is mapped with all that is inside only."""
    return by_hand.shape.sensor is None and not by_hand.shape.is_mapped


def _once_ready(script: Callable[[Scene], Script]) -> Callable[[Scene], Script]:
    """Let clusters never be gone from when create has seen its own READY."""

    def later(scene: Scene) -> Script:
        yield from scene.until_state("work", "running")
        never_gone(scene)
        scene.release()
        yield from script(scene)

    return later


@row(
    "in a block, the work is cleared after all has ended: it gets a cluster of its own, which goes as well",
    shape=Shape(create=DEFERRED, is_block=True),
    expected=Expected(0, made=2),
)
def block_cleared(scene: Scene) -> Script:
    yield from scene.until_watched("create", "deferred")
    scene.make_ready()
    yield from scene.until_run_is("success")
    scene.clear("work")
    yield from scene.until_try(2, "deferred")
    scene.make_ready()


@row(
    "in a block, what follows it is cleared after all has ended: no cluster is made",
    shape=Shape(create=DEFERRED, is_block=True),
    expected=Expected(0),
)
def block_report_cleared(scene: Scene) -> Script:
    yield from scene.until_watched("create", "deferred")
    scene.make_ready()
    yield from scene.until_run_is("success")
    scene.clear("report")
    yield from scene.until_task_try("report", 2, "success")

"""What the block of a task group adds: its delete runs whatever became of its create, and finds what that has made."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from tests.e2e.kill_matrix.row import ANY, Expected, Script, row
from tests.e2e.kill_matrix.rows.waiting import BUSY, DEFERRED
from tests.e2e.kill_matrix.shapes import Shape

if TYPE_CHECKING:
    from tests.e2e.kill_matrix.scene import Scene


@row(
    "in a block, create waits in a worker and gets SIGKILL in its last try",
    shape=Shape(create=BUSY, is_block=True),
    expected=Expected(0, run="failed"),
)
def block_sigkill_last(scene: Scene) -> Script:
    yield from scene.until_watched("create", "running")
    scene.signal("create", signal.SIGKILL)


@row(
    "in a block, create waits deferred and is marked success",
    shape=Shape(create=DEFERRED, is_block=True),
    expected=Expected(0),
)
def block_marked_success(scene: Scene) -> Script:
    yield from scene.until_watched("create", "deferred")
    scene.mark("create", "success")


@row(
    "in a block, the run is marked failed while the work runs",
    shape=Shape(create=DEFERRED, work="held", is_block=True),
    expected=Expected(0, run=ANY),
)
def block_run_failed(scene: Scene) -> Script:
    yield from scene.until_watched("create", "deferred")
    scene.make_ready()
    yield from scene.until_state("work", "running")
    scene.mark_run("failed")


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

"""What happens when the scheduler dies with SIGKILL, while each row is at another stage, and is restarted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from airflow_provider_together.demo.airflow_stack import SCHEDULER
from tests.e2e.kill_matrix.row import Expected, Script, row
from tests.e2e.kill_matrix.rows.triggerers import never_gone
from tests.e2e.kill_matrix.rows.waiting import BUSY, DEFERRED
from tests.e2e.kill_matrix.shapes import Shape

if TYPE_CHECKING:
    from tests.e2e.kill_matrix.scene import Scene


def strike(scenes: Sequence[Scene]) -> Script:
    """Kill the scheduler; let what was waited for come true while there is none; start it again."""
    stack = scenes[0].stack
    stack.kill(SCHEDULER, with_children=True)
    for scene in scenes:
        scene.cloud.clear_faults()
        scene.make_ready()
        scene.release()
    stack.restart(SCHEDULER)
    yield from ()


@row(
    "the scheduler is killed and restarted while create waits in a worker",
    shape=Shape(create=BUSY),
    expected=Expected(0),
)
def scheduler_killed_busy(scene: Scene) -> Script:
    yield from scene.until_watched("create", "running")
    yield from scene.until_struck()


@row(
    "the scheduler is killed and restarted while create waits deferred",
    shape=Shape(create=DEFERRED),
    expected=Expected(0),
)
def scheduler_killed_deferred(scene: Scene) -> Script:
    yield from scene.until_watched("create", "deferred")
    yield from scene.until_struck()


@row("the scheduler is killed and restarted while the work runs", shape=Shape(work="held"), expected=Expected(0))
def scheduler_killed_working(scene: Scene) -> Script:
    yield from scene.until_state("work", "running")
    yield from scene.until_struck()


@row(
    "the scheduler is killed and restarted while delete waits",
    shape=Shape(),
    expected=Expected(0),
    has_cloud=True,
    before=never_gone,
)
def scheduler_killed_deleting(scene: Scene) -> Script:
    yield from scene.until_state("delete", "running")
    yield from scene.until_struck()

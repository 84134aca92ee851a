"""What happens when triggerers die, stall, or do not hear of a deferred task in time."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import TYPE_CHECKING

from airflow_provider_together.demo.airflow_stack import TRIGGERER
from airflow_provider_together.emulator import Fault
from tests.e2e.kill_matrix.distributed import SECOND_TRIGGERER
from tests.e2e.kill_matrix.row import Expected, Script, Until, row
from tests.e2e.kill_matrix.rows.waiting import DEFERRED
from tests.e2e.kill_matrix.shapes import Shape

if TYPE_CHECKING:
    from tests.e2e.kill_matrix.scene import Scene

TRIGGERERS = (TRIGGERER, SECOND_TRIGGERER)
#: What the trigger says when its triggerer ends it although its task lives.
SPARED = "is left alive: its task was moved or cleared, not ended"


def strike(scenes: Sequence[Scene]) -> Script:
    """Kill both triggerers with all their processes, and start one again."""
    stack = scenes[0].stack
    for name in TRIGGERERS:
        stack.kill(name, with_children=True)
    stack.restart(TRIGGERER)
    yield from ()


def stall(scenes: Sequence[Scene]) -> Script:
    """Stop the only triggerer until another one has taken over its triggers, and let it go on."""
    (scene,) = scenes
    first = scene.triggerer_of("create")
    scene.stack.restart(SECOND_TRIGGERER)
    scene.stack.kill(TRIGGERER, signal.SIGSTOP, with_children=True)
    try:
        yield Until("another triggerer has taken over", lambda: scene.triggerer_of("create") not in {None, first})
        yield from scene.until_watched("create", "deferred")
    finally:
        scene.stack.kill(TRIGGERER, signal.SIGCONT, with_children=True)
    yield Until("the first triggerer has let go", lambda: scene.has_logged(SPARED))


def leave_one(scene: Scene) -> None:
    """Let the first triggerer be the only one, so that it is the one that takes up the row's task."""
    scene.stack.kill(SECOND_TRIGGERER, with_children=True)


def freeze(scene: Scene) -> None:
    """Stop all triggerers."""
    for name in TRIGGERERS:
        scene.stack.kill(name, signal.SIGSTOP, with_children=True)


def thaw(scene: Scene) -> None:
    """Let all triggerers go on."""
    for name in TRIGGERERS:
        scene.stack.kill(name, signal.SIGCONT, with_children=True)


def never_gone(scene: Scene) -> None:
    """Show every cluster as DELETING, whatever it is."""
    scene.cloud.inject(Fault(route="get_cluster", kind="status_word", word="DELETING", times=None))


@row(
    "the triggerers are killed and restarted while create waits deferred",
    shape=Shape(create=DEFERRED),
    expected=Expected(0),
)
def triggerer_killed_create(scene: Scene) -> Script:
    yield from scene.until_watched("create", "deferred")
    yield from scene.until_struck()
    yield from scene.until_watched("create", "deferred")
    scene.make_ready()


@row(
    "the triggerers are killed and restarted while the sensor waits deferred",
    shape=Shape(sensor={}),
    expected=Expected(0),
)
def triggerer_killed_sensor(scene: Scene) -> Script:
    yield from scene.until_watched("sensor", "deferred")
    yield from scene.until_struck()
    yield from scene.until_watched("sensor", "deferred")
    scene.make_ready()


@row(
    "the triggerers are killed and restarted while delete waits deferred",
    shape=Shape(delete={"deferrable": True}),
    expected=Expected(0),
    has_cloud=True,
    before=never_gone,
)
def triggerer_killed_delete(scene: Scene) -> Script:
    yield from scene.until_state("delete", "deferred")
    yield from scene.until_struck()
    scene.cloud.clear_faults()


@row(
    "a triggerer stalls until another one has taken over, and goes on: the cluster survives, the run succeeds",
    shape=Shape(create=DEFERRED),
    expected=Expected(0),
    before=leave_one,
)
def triggerer_stalls(scene: Scene) -> Script:
    yield from scene.until_watched("create", "deferred")
    yield from scene.until_struck()
    yield from scene.until_watched("create", "deferred")
    scene.make_ready()


@row(
    "create is marked failed before a triggerer has taken it up",
    shape=Shape(create=DEFERRED),
    expected=Expected(1, run="failed"),
    before=freeze,
)
def marked_unheard(scene: Scene) -> Script:
    try:
        yield from scene.until_state("create", "deferred")
        scene.mark("create", "failed")
        yield from scene.until_run_is("failed")
    finally:
        thaw(scene)


#: The rows that one kill of both triggerers strikes.
KILLED = (triggerer_killed_create, triggerer_killed_sensor, triggerer_killed_delete)

"""What happens when a worker dies with SIGKILL and all its processes, while each row is at another stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from airflow_provider_together.emulator import Fault
from tests.e2e.kill_matrix.distributed import DOOMED_QUEUE, DOOMED_WORKER
from tests.e2e.kill_matrix.row import Expected, Script, row
from tests.e2e.kill_matrix.rows.cloud import COMPUTE
from tests.e2e.kill_matrix.rows.waiting import BUSY
from tests.e2e.kill_matrix.shapes import Shape

if TYPE_CHECKING:
    from tests.e2e.kill_matrix.scene import Scene

#: Seconds that a request is held: longer than any test lasts.
FOR_EVER = 3600.0
DOOMED = {"queue": DOOMED_QUEUE, "retries": 1}
#: Of the connection: who is held has to wait.
PATIENT = {"timeout": 600}


def strike(scenes: Sequence[Scene]) -> Script:
    """Kill the worker with all that runs on it, and start it again."""
    stack = scenes[0].stack
    stack.kill(DOOMED_WORKER, with_children=True)
    stack.restart(DOOMED_WORKER)
    yield from ()


def hold_create(scene: Scene) -> None:
    """Hold a create request before it is carried out."""
    scene.cloud.inject(Fault(route="create_cluster", kind="latency", seconds=FOR_EVER, times=1))


def hold_create_answer(scene: Scene) -> None:
    """Carry a create request out, and hold the answer."""
    scene.cloud.inject(Fault(route="create_cluster", kind="latency", seconds=FOR_EVER, times=1, after_effect=True))


def hold_delete(scene: Scene) -> None:
    """Hold a delete request before it is carried out."""
    scene.cloud.inject(Fault(route="delete_cluster", kind="latency", seconds=FOR_EVER, times=1))


def hold_delete_answer(scene: Scene) -> None:
    """Carry a delete request out, and hold the answer."""
    scene.cloud.inject(Fault(route="delete_cluster", kind="latency", seconds=FOR_EVER, times=1, after_effect=True))


@row(
    "the worker is killed when create has asked, before Together has heard it",
    shape=Shape(create=DOOMED),
    expected=Expected(0),
    has_cloud=True,
    extra=PATIENT,
    before=hold_create,
)
def killed_before_create(scene: Scene) -> Script:
    yield from scene.until_asked("create_cluster")
    yield from scene.until_struck()


@row(
    "the worker is killed when Together has made the cluster, before create has heard it",
    shape=Shape(create=DOOMED),
    expected=Expected(0),
    has_cloud=True,
    extra={**PATIENT, **COMPUTE},
    before=hold_create_answer,
)
def killed_after_create(scene: Scene) -> Script:
    yield from scene.until_asked("create_cluster")
    yield from scene.until_struck()


@row(
    "the worker is killed in create's last try, before create has heard of its cluster",
    shape=Shape(create={**DOOMED, "retries": 0}),
    expected=Expected(1, run="failed"),
    has_cloud=True,
    extra=PATIENT,
    before=hold_create_answer,
)
def killed_after_create_last(scene: Scene) -> Script:
    yield from scene.until_asked("create_cluster")
    yield from scene.until_struck()


@row("the worker is killed while create waits", shape=Shape(create={**BUSY, **DOOMED}), expected=Expected(0))
def killed_waiting(scene: Scene) -> Script:
    yield from scene.until_watched("create", "running")
    yield from scene.until_struck()
    yield from scene.until_try(2, "running")
    scene.make_ready()


@row(
    "the worker is killed while create waits in its last try",
    shape=Shape(create={**BUSY, **DOOMED, "retries": 0}),
    expected=Expected(1, run="failed"),
)
def killed_waiting_last(scene: Scene) -> Script:
    yield from scene.until_watched("create", "running")
    yield from scene.until_struck()


@row(
    "the worker is killed while the sensor looks",
    shape=Shape(sensor={"deferrable": False, "mode": "poke", **DOOMED}),
    expected=Expected(0),
)
def killed_looking(scene: Scene) -> Script:
    yield from scene.until_watched("sensor", "running")
    yield from scene.until_struck()
    scene.make_ready()


@row(
    "the worker is killed while the work runs",
    shape=Shape(work="held", work_queue=DOOMED_QUEUE),
    expected=Expected(0, run="failed"),
)
def killed_working(scene: Scene) -> Script:
    yield from scene.until_state("work", "running")
    yield from scene.until_struck()


@row(
    "the worker is killed when delete has asked, before Together has heard it",
    shape=Shape(delete=DOOMED),
    expected=Expected(0),
    has_cloud=True,
    extra={**PATIENT, **COMPUTE},
    before=hold_delete,
)
def killed_before_delete(scene: Scene) -> Script:
    yield from scene.until_asked("delete_cluster")
    yield from scene.until_struck()


@row(
    "the worker is killed when Together deletes the cluster, before delete has heard it",
    shape=Shape(delete=DOOMED),
    expected=Expected(0),
    has_cloud=True,
    extra=PATIENT,
    before=hold_delete_answer,
)
def killed_after_delete(scene: Scene) -> Script:
    yield from scene.until_asked("delete_cluster")
    yield from scene.until_struck()

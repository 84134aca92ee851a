"""What happens to a create that waits for its cluster, in a worker or in the triggerer."""

from __future__ import annotations

import signal
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from tests.e2e.kill_matrix.row import Expected, Script, Until, row
from tests.e2e.kill_matrix.shapes import Shape

if TYPE_CHECKING:
    from tests.e2e.kill_matrix.scene import Scene

BUSY = {"wait_for_completion": True, "deferrable": False}
#: Long enough for a busy machine to begin, short enough to wait for.
PATIENCE = timedelta(seconds=20)
DEFERRED = {"wait_for_completion": True, "deferrable": True}


@row("create waits in a worker and gets SIGTERM", shape=Shape(create=BUSY), expected=Expected(0, run="failed"))
def busy_sigterm(scene: Scene) -> Script:
    yield from scene.until_watched("create", "running")
    scene.signal("create", signal.SIGTERM)


@row(
    "create waits in a worker and gets SIGKILL; a retry is left",
    shape=Shape(create={**BUSY, "retries": 1}),
    expected=Expected(0),
)
def busy_sigkill(scene: Scene) -> Script:
    yield from scene.until_watched("create", "running")
    scene.signal("create", signal.SIGKILL)
    yield from scene.until_try(2, "running")
    scene.make_ready()


@row(
    "create waits in a worker and gets SIGKILL in its last try",
    shape=Shape(create=BUSY),
    expected=Expected(1, run="failed"),
)
def busy_sigkill_last(scene: Scene) -> Script:
    yield from scene.until_watched("create", "running")
    scene.signal("create", signal.SIGKILL)


@row(
    "create stalls while it waits in a worker, until a retry waits for the same cluster, and goes on: it survives",
    shape=Shape(create={**BUSY, "retries": 1}),
    expected=Expected(0),
)
def busy_stalls(scene: Scene) -> Script:
    yield from scene.until_watched("create", "running")
    supervisor, task = scene.freeze("create")
    yield from scene.until_try(2, "running")
    for process in (supervisor, task):
        process.resume()
    yield Until("the first try is over", lambda: not task.is_running())
    yield from scene.until_watched("create", "running")
    scene.make_ready()


@row("create waits in a worker and is marked failed", shape=Shape(create=BUSY), expected=Expected(0, run="failed"))
def busy_failed(scene: Scene) -> Script:
    yield from scene.until_watched("create", "running")
    scene.mark("create", "failed")


@row("create waits in a worker and is marked success", shape=Shape(create=BUSY), expected=Expected(0, run="failed"))
def busy_success(scene: Scene) -> Script:
    yield from scene.until_watched("create", "running")
    scene.mark("create", "success")


@row("create waits in a worker and is cleared", shape=Shape(create=BUSY), expected=Expected(0))
def busy_cleared(scene: Scene) -> Script:
    yield from scene.until_watched("create", "running")
    scene.clear("create")
    yield from scene.until_try(2, "running")
    scene.make_ready()


@row(
    "create waits in a worker beyond its execution_timeout",
    shape=Shape(create={**BUSY, "execution_timeout": PATIENCE}),
    expected=Expected(0, run="failed"),
)
def busy_execution_timeout(scene: Scene) -> Script:
    yield from scene.until_watched("create", "running")


@row(
    "create waits in a worker until its own timeout",
    shape=Shape(create={**BUSY, "timeout": PATIENCE}),
    expected=Expected(0, run="failed"),
)
def busy_timeout(scene: Scene) -> Script:
    yield from scene.until_watched("create", "running")


@row("create waits deferred and is marked failed", shape=Shape(create=DEFERRED), expected=Expected(0, run="failed"))
def deferred_failed(scene: Scene) -> Script:
    yield from scene.until_watched("create", "deferred")
    scene.mark("create", "failed")


@row("create waits deferred and is marked success", shape=Shape(create=DEFERRED), expected=Expected(0, run="failed"))
def deferred_success(scene: Scene) -> Script:
    yield from scene.until_watched("create", "deferred")
    scene.mark("create", "success")


@row("create waits deferred and is cleared", shape=Shape(create=DEFERRED), expected=Expected(0))
def deferred_cleared(scene: Scene) -> Script:
    yield from scene.until_watched("create", "deferred")
    scene.clear("create")
    yield from scene.until_try(2, "deferred")
    scene.make_ready()


@row(
    "create waits deferred until Airflow's own deferral timeout",
    shape=Shape(create=DEFERRED, is_impatient=True),
    expected=Expected(0, run="failed"),
)
def deferral_timeout(scene: Scene) -> Script:
    yield from scene.until_watched("create", "deferred")


@row(
    "create waits deferred until its own timeout",
    shape=Shape(create={**DEFERRED, "timeout": PATIENCE}),
    expected=Expected(0, run="failed"),
)
def deferred_timeout(scene: Scene) -> Script:
    yield from scene.until_state("create", "deferred")


@row(
    "create waits deferred beyond its execution_timeout, which Airflow does not enforce there",
    shape=Shape(create={**DEFERRED, "execution_timeout": PATIENCE}),
    expected=Expected(0),
)
def deferred_execution_timeout(scene: Scene) -> Script:
    yield from scene.until_watched("create", "deferred")
    end = time.monotonic() + PATIENCE.total_seconds()
    yield Until("the timeout has passed", lambda: time.monotonic() > end)
    yield from scene.until_watched("create", "deferred")
    scene.make_ready()


@row("the cluster FAILS while create waits in a worker", shape=Shape(create=BUSY), expected=Expected(0, run="failed"))
def busy_cluster_fails(scene: Scene) -> Script:
    yield from scene.until_watched("create", "running")
    scene.fail_clusters()


@row(
    "one index of a mapped create is marked failed while deferred; the others live on",
    shape=Shape(create=DEFERRED, is_mapped=True),
    expected=Expected(0, made=2, run="failed"),
)
def mapped_failed(scene: Scene) -> Script:
    yield from scene.until_watched("create", "deferred")
    scene.mark("create", "failed", map_index=0)
    yield Until("one cluster left", lambda: len(scene.alive()) == 1)
    scene.make_ready()

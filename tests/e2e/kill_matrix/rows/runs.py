"""What happens to a whole run: it is marked, it times out, its DAG is deleted, or something in it fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.e2e.kill_matrix.row import ANY, Expected, Script, row
from tests.e2e.kill_matrix.rows.waiting import DEFERRED
from tests.e2e.kill_matrix.shapes import Shape

if TYPE_CHECKING:
    from tests.e2e.kill_matrix.scene import Scene

#: Seconds for a run that shall time out; its tasks have to begin before.
RUN_SECONDS = 110.0
WITH_SENSOR = Shape(sensor={})
WITH_HELD_WORK = Shape(work="held")


@row(
    "the run is marked failed while create waits deferred",
    shape=Shape(create=DEFERRED),
    expected=Expected(0, run=ANY),
)
def run_failed_in_create(scene: Scene) -> Script:
    yield from scene.until_watched("create", "deferred")
    scene.mark_run("failed")


@row(
    "the run is marked success while create waits deferred",
    shape=Shape(create=DEFERRED),
    expected=Expected(0, run=ANY),
)
def run_success_in_create(scene: Scene) -> Script:
    yield from scene.until_watched("create", "deferred")
    scene.mark_run("success")


@row("the run is marked failed while the sensor waits deferred", shape=WITH_SENSOR, expected=Expected(0, run=ANY))
def run_failed_in_sensor(scene: Scene) -> Script:
    yield from scene.until_watched("sensor", "deferred")
    scene.mark_run("failed")


@row("the run is marked success while the sensor waits deferred", shape=WITH_SENSOR, expected=Expected(0, run=ANY))
def run_success_in_sensor(scene: Scene) -> Script:
    yield from scene.until_watched("sensor", "deferred")
    scene.mark_run("success")


@row("the run is marked failed while the work runs", shape=WITH_HELD_WORK, expected=Expected(0, run=ANY))
def run_failed_in_work(scene: Scene) -> Script:
    yield from scene.until_state("work", "running")
    scene.mark_run("failed")


@row("the run is marked success while the work runs", shape=WITH_HELD_WORK, expected=Expected(0, run=ANY))
def run_success_in_work(scene: Scene) -> Script:
    yield from scene.until_state("work", "running")
    scene.mark_run("success")


@row(
    "dagrun_timeout ends the run while create waits deferred",
    shape=Shape(create=DEFERRED, timeout=RUN_SECONDS),
    expected=Expected(0, run="failed"),
)
def run_timeout_in_create(scene: Scene) -> Script:
    yield from scene.until_watched("create", "deferred")
    yield from scene.until_run_is("failed")


@row(
    "dagrun_timeout ends the run while the sensor waits deferred; Airflow skips the teardown",
    shape=Shape(sensor={}, timeout=RUN_SECONDS),
    expected=Expected(1, run="failed"),
)
def run_timeout_in_sensor(scene: Scene) -> Script:
    yield from scene.until_watched("sensor", "deferred")
    yield from scene.until_run_is("failed")


@row("the sensor sees the cluster FAIL", shape=WITH_SENSOR, expected=Expected(0, run="failed"))
def sensor_sees_failure(scene: Scene) -> Script:
    yield from scene.until_watched("sensor", "deferred")
    scene.fail_clusters()


@row("the sensor times out", shape=Shape(sensor={"timeout": 5}), expected=Expected(0, run="failed"))
def sensor_times_out(scene: Scene) -> Script:
    yield from scene.until_state("sensor", "failed")


@row("the work is marked failed while it runs", shape=WITH_HELD_WORK, expected=Expected(0, run="failed"))
def work_failed(scene: Scene) -> Script:
    yield from scene.until_state("work", "running")
    scene.mark("work", "failed")


@row("the DAG is deleted while its sensor waits deferred", shape=WITH_SENSOR, expected=Expected(1, run=ANY))
def dag_deleted(scene: Scene) -> Script:
    yield from scene.until_watched("sensor", "deferred")
    scene.delete_dag()
    yield from scene.until_run_is(None)

"""What happens when Together's API fails at the wrong moment, with an emulator for each row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_together.emulator import Fault
from tests.e2e.kill_matrix.row import Expected, Script, Until, row
from tests.e2e.kill_matrix.rows.waiting import DEFERRED
from tests.e2e.kill_matrix.shapes import Shape

if TYPE_CHECKING:
    from tests.e2e.kill_matrix.scene import Scene

#: Airflow cuts a trigger's ``on_kill`` off after so many seconds.
ON_KILL_SECONDS = 30.0
#: Of the connection: the newer of the two APIs.
COMPUTE = {"api": "compute"}


def lose_the_answer(scene: Scene) -> None:
    """A create is carried out without an answer."""
    scene.cloud.inject(Fault(route="create_cluster", kind="lose_answer", times=1))


def lose_sight(scene: Scene) -> None:
    """A create is carried out without an answer, and its cluster does not show in the list."""
    lose_the_answer(scene)
    scene.cloud.inject(Fault(route="list_clusters", kind="hide_cluster", times=None))


def refuse_one_delete(scene: Scene) -> None:
    scene.cloud.inject(Fault(route="delete_cluster", status=503, times=1))


def refuse_all_deletes(scene: Scene) -> None:
    scene.cloud.inject(Fault(route="delete_cluster", status=503, times=None))


@row(
    "the answer to the create request is lost",
    shape=Shape(),
    expected=Expected(0),
    has_cloud=True,
    before=lose_the_answer,
)
def create_answer_lost(scene: Scene) -> Script:
    yield from scene.until_state("create", "success")


@row(
    "the answer to the create request is lost, and the list hides the cluster; a retry is left",
    shape=Shape(create={"retries": 1}),
    expected=Expected(0),
    has_cloud=True,
    extra=COMPUTE,
    before=lose_sight,
)
def create_unseen(scene: Scene) -> Script:
    yield from scene.until_state("create", "up_for_retry", "scheduled", "queued")
    scene.cloud.clear_faults()


@row(
    "the answer to the create request is lost, and the list hides the cluster until the last try is over",
    shape=Shape(),
    expected=Expected(1, run="failed"),
    has_cloud=True,
    before=lose_sight,
)
def create_unseen_last(scene: Scene) -> Script:
    yield from scene.until_state("create", "failed")
    scene.cloud.clear_faults()


@row(
    "the delete request fails once",
    shape=Shape(),
    expected=Expected(0),
    has_cloud=True,
    extra=COMPUTE,
    before=refuse_one_delete,
)
def delete_fails_once(scene: Scene) -> Script:
    yield from scene.until_state("delete", "success")


@row(
    "the delete request fails for ever",
    shape=Shape(delete={"timeout": 5, "retries": 1}),
    expected=Expected(1, run="failed"),
    has_cloud=True,
    before=refuse_all_deletes,
)
def delete_fails_for_ever(scene: Scene) -> Script:
    yield from scene.until_state("delete", "failed")


@row(
    "create waits deferred and is marked failed, and Together refuses to delete for longer than Airflow waits",
    shape=Shape(create=DEFERRED),
    expected=Expected(0, run="failed"),
    has_cloud=True,
    before=refuse_all_deletes,
)
def deferred_failed_in_trouble(scene: Scene) -> Script:
    yield from scene.until_watched("create", "deferred")
    scene.mark("create", "failed")

    def is_beyond_the_limit() -> bool:
        asked = [request.at for request in scene.cloud.requests if request.route == "delete_cluster"]
        return bool(asked) and asked[-1] - asked[0] > ON_KILL_SECONDS

    yield Until("a delete request after the time of on_kill", is_beyond_the_limit, outlasts_run=True)
    scene.cloud.clear_faults()
    yield Until("the cluster is given back", lambda: not scene.alive(), outlasts_run=True)

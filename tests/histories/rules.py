"""
What must hold, whatever has happened: at every moment, and once everything has come to rest.

Every rule reads the emulator's truth. To come to rest means: nothing goes wrong any more, every process has run to
its end, lists have caught up, and whoever still needs a cluster has been tried once more.
"""

from __future__ import annotations

from airflow_provider_together.emulator.lifecycle import Phase
from airflow_provider_together.emulator.model import Cluster
from airflow_provider_together.exceptions import NameTakenError
from airflow_provider_together.lifecycle.name import ClusterName
from tests.histories.moves import LONGEST_LAG
from tests.histories.scene import DEPLOYMENTS, Scene, Task

_STRANGER = "stranger"


def check_always(scene: Scene) -> None:
    """Check what holds at every moment: nobody gets or deletes what is not his, or what somebody works with."""
    makers, deletions = scene.cloud.makers, scene.cloud.deletions
    for task in scene.tasks:
        for process in task.tries:
            if process.result is not None:
                cluster = process.result.cluster
                assert makers[cluster.cluster_id] == task.actor, f"{task.actor} was given a foreign cluster: {cluster}"
        taken = task.works_with()
        if taken in deletions:
            assert _may_go(scene, taken, task), f"{deletions[taken]} deleted {taken}, with which {task.actor} works"
    for cluster_id, deleter in deletions.items():
        deployments = {_deployment_of(scene, actor) for actor in (makers[cluster_id], deleter)}
        assert len(deployments) == 1, f"{deleter} deleted cluster {cluster_id} of {makers[cluster_id]}"


def _may_go(scene: Scene, cluster_id: str, task: Task) -> bool:
    """Whether there is a reason to delete a cluster although somebody works with it."""
    cluster = next(each for each in scene.cloud.clusters() if each.cluster_id == cluster_id)
    name = ClusterName.parse(cluster.wish.name)
    end = None if name is None else name.end_of_life
    is_expired = end is not None and end.timestamp() <= (cluster.deleted_at or 0.0)
    return is_expired or "failure" in scene.troubles or scene.cloud.deletions[cluster_id] == f"{task.actor}'s teardown"


def _deployment_of(scene: Scene, actor: str) -> str:
    found = [task.owner.deployment for task in scene.tasks if actor in {task.actor, f"{task.actor}'s teardown"}]
    return found[0] if found else actor.removesuffix("'s sweep")


def check_posts(scene: Scene) -> None:
    """Check that each task whose create has ended well has sent one POST, and every other none."""
    scene.run_all()
    assert sorted(scene.cloud.posts) == sorted(task.actor for task in scene.tasks if task.tries[-1].error is None)


def check_one_post(scene: Scene) -> None:
    """Check that however many tries there were, one request for a cluster was sent."""
    scene.run_all()
    assert len(scene.cloud.posts) == 1, scene.cloud.posts
    come_to_rest(scene)


def check_race(scene: Scene, task: Task) -> None:
    """Check that tries which ran at the same time have left one cluster: that of the try to which Airflow listens."""
    scene.run_all()
    scene.cloud.wait_until(scene.cloud.now() + LONGEST_LAG + 1)
    newest = task.tries[-1]
    if newest.was_killed:
        return
    assert newest.error is None, f"the newest try failed: {newest.error}"
    check_usable(scene, task)
    works_with = task.works_with()
    living = _living(scene, task)
    assert works_with in living, f"the newest try was given {works_with}; alive: {living}"
    assert task.recorded_id() == works_with, f"on record is {task.recorded_id()}; the newest try was given {works_with}"
    if not any(process.was_killed for process in task.tries):
        assert living == [works_with], f"the newest try was given {works_with}; alive: {living}"


def come_to_rest(scene: Scene) -> None:
    """Let all trouble and all processes end, check, let all runs end, sweep, and check again."""
    _calm_down(scene)
    for task in scene.tasks:
        if task.tries and not task.is_over:
            scene.start_create(task).finish()
            check_one(scene, task)
            check_none_outlives_its_end(scene, task.owner.deployment)
    for task in scene.tasks:
        task.is_over = True
        recorded = task.recorded_id()
        if task.own_name is not None and recorded is not None:
            scene.start_delete(task, recorded).finish()
    _calm_down(scene)
    for deployment in DEPLOYMENTS:
        scene.start_sweep(deployment).finish()
        check_none_outlives_its_end(scene, deployment)
    check_none_left(scene)
    check_always(scene)


def _calm_down(scene: Scene) -> None:
    cloud = scene.cloud
    cloud.simulation.clear_faults()
    cloud.late_posts.clear()
    scene.run_all()
    cloud.catch_up()
    cloud.wait_until(cloud.now() + LONGEST_LAG + 1)


def check_one(scene: Scene, task: Task) -> None:
    """Check that a task whose last try ran without trouble has exactly one cluster: the one that it was given."""
    latest = task.tries[-1]
    if isinstance(latest.error, NameTakenError) and (is_name_taken(scene, task) or has_unknown_double(scene, task)):
        return
    assert latest.error is None, f"{task.actor}'s last try failed: {latest.error}"
    assert latest.result is not None
    check_usable(scene, task)
    if has_unknown_double(scene, task):
        return
    assert _living(scene, task) == [latest.result.cluster.cluster_id], f"{task.actor} was given {latest.result.cluster}"


def check_usable(scene: Scene, task: Task) -> None:
    """Check that what the newest try has come out with has not failed."""
    given = [each for each in scene.cloud.clusters() if each.cluster_id == task.works_with()]
    phases = [cluster.phase(scene.cloud.now()) for cluster in given]
    assert not {Phase.ACCEPTANCE_TESTS_FAILED, Phase.NCCL_TESTS_FAILED} & set(phases), f"it has failed: {given}"


def check_none_outlives_its_end(scene: Scene, deployment: str) -> None:
    """Check that nothing of a deployment is past its end of life when a create or a sweep has ended."""
    begun = scene.processes[-1].began
    for cluster in scene.cloud.usable():
        name = ClusterName.parse(cluster.wish.name)
        if name is not None and name.deployment == deployment and scene.cloud.makers[cluster.cluster_id] != _STRANGER:
            end = name.end_of_life
            assert end is None or end.timestamp() > begun, f"cluster {cluster.wish.name} is past its end, and lives"


def check_none_left(scene: Scene) -> None:
    """Check that all runs being over, and all deployments swept, only what strangers made is alive."""
    for task in scene.tasks:
        if has_unknown_double(scene, task) or (task.own_name is not None and task.has_open_request()):
            continue  # only its user can tell what of that name is whose
        assert _living(scene, task) == [], f"{task.actor} has left clusters"
    alive = {cluster.cluster_id for cluster in scene.cloud.usable()}
    assert alive >= set(scene.strangers)


def has_unknown_double(scene: Scene, task: Task) -> bool:
    """Whether one request may have made two of a user's own name: nothing tells the other one from a stranger's."""
    return task.own_name is not None and "duplicate" in scene.troubles


def is_name_taken(scene: Scene, task: Task) -> bool:
    """Whether a stranger's living cluster has the very name that a task's user has chosen."""
    strangers = [each for each in scene.cloud.usable() if scene.cloud.makers[each.cluster_id] == _STRANGER]
    return task.own_name in {cluster.wish.name for cluster in strangers}


def _living(scene: Scene, task: Task) -> list[str]:
    mine: list[Cluster] = [c for c in scene.cloud.usable() if scene.cloud.makers[c.cluster_id] == task.actor]
    return [cluster.cluster_id for cluster in mine]

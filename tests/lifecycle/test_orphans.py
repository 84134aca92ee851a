"""What the sweep deletes, what it spares, and what it says about it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_together.api.call import Call, Step
from airflow_provider_together.api.dialects import Dialect
from airflow_provider_together.api.models import Cluster, Listing
from airflow_provider_together.exceptions import (
    NotFoundError,
    PermissionDeniedError,
    RequestRefusedError,
    ServerError,
    TogetherError,
)
from airflow_provider_together.lifecycle.name import ClusterName
from airflow_provider_together.lifecycle.orphans import Fate, Finding, Standing, sweep
from tests.lifecycle.test_create import NOW, OURS, OWNER
from tests.support.driving import Script
from tests.support.engine import cluster_with

NOT_FOUND = NotFoundError("no such cluster.", status=404)
OVER = Standing("run 'run' of DAG 'train' is over (failed)", is_over=True)
RUNNING = Standing("run 'run' of DAG 'train' is running", recorded_id="c-1")
ENDED = str(ClusterName.of(OWNER, now=NOW, lifetime=-timedelta(hours=2)))
OPEN = str(ClusterName.of(OWNER, now=NOW))
OTHERS = str(ClusterName.of(replace(OWNER, deployment="other"), now=NOW, lifetime=-timedelta(days=1)))


@dataclass
class Cloud(Script):
    """Clusters that are deleted at once, and owners of known standing."""

    answers: Sequence[Any] = ()
    clusters: list[Cluster] = field(default_factory=list)
    standings: Mapping[str, Standing | None] = field(default_factory=dict)
    refusal: TogetherError | None = None
    #: How many deletions it meets.
    refusals: float = math.inf
    now: float = NOW.timestamp()
    deleted: list[str] = field(default_factory=list)
    stays: bool = False
    unreadable: Sequence[str] = ()

    def standing_of(self, name: ClusterName) -> Standing | None:
        return self.standings.get(str(name))

    def _answer(self, step: Step, left: list[Any]) -> Any:
        if not isinstance(step, Call):
            return super()._answer(step, left)
        cluster_id = step.path.rsplit("/", 1)[-1]
        if step.method == "DELETE":
            if self.refusal is not None and self.refusals > 0:
                self.refusals -= 1
                return self.refusal
            self.deleted.append(cluster_id)
            if not self.stays:
                self.clusters = [cluster for cluster in self.clusters if cluster.cluster_id != cluster_id]
            return True
        if step.path.endswith(("clusters",)):
            return Listing(self.clusters, unreadable=self.unreadable)
        return next((cluster for cluster in self.clusters if cluster.cluster_id == cluster_id), NOT_FOUND)

    def swept(
        self, dialect: Dialect, *, delete: bool = True, deployment: str | None = OWNER.deployment
    ) -> list[Finding]:
        flow = sweep(dialect, self.standing_of, deployment=deployment, delete=delete, timeout=60, poll_interval=5)
        return self.drive(flow)


def cloud_of(name: str, standing: Standing | None = None, *, cluster_id: str = "c-1", **changes: Any) -> Cloud:
    return Cloud(
        clusters=[cluster_with(cluster_id, cluster_name=name, **changes.pop("cluster", {}))],
        standings={name: standing},
        **changes,
    )


@pytest.mark.parametrize(
    ("name", "standing", "why"),
    [
        (OURS, OVER, "run 'run' of DAG 'train' is over (failed)"),
        (OPEN, OVER, "run 'run' of DAG 'train' is over (failed)"),
        (ENDED, None, "its life ended 2 h 0 min ago"),
        (ENDED, RUNNING, "its life ended 2 h 0 min ago"),
        (OTHERS, RUNNING, "its life ended 24 h 0 min ago"),
    ],
    ids=["owner over", "owner over, no end", "life over", "life over, run alive", "of an id that was ours once"],
)
def test_what_is_forgotten_is_deleted(dialect: Dialect, name: str, standing: Standing | None, why: str) -> None:
    cloud = cloud_of(name, standing)
    (finding,) = cloud.swept(dialect)
    assert (finding.fate, finding.why) == (Fate.DELETED, why)
    assert cloud.deleted == ["c-1"]


@pytest.mark.parametrize(
    ("name", "standing", "why"),
    [
        ("train", OVER, "its name is not one that an Airflow has made"),
        ("", OVER, "its name is not one that an Airflow has made"),
        (OTHERS, None, "it is of deployment 'other'"),
        (OURS, RUNNING, "run 'run' of DAG 'train' is running; its life ends 2026-02-01 15:30 UTC"),
        (OURS, None, "nobody knows its owner; its life ends 2026-02-01 15:30 UTC"),
        (OPEN, None, "nobody knows its owner; it has no end of life"),
    ],
)
def test_everything_else_is_spared(dialect: Dialect, name: str, standing: Standing | None, why: str) -> None:
    cloud = cloud_of(name, standing)
    (finding,) = cloud.swept(dialect)
    assert (finding.fate, finding.why) == (Fate.SPARED, why)
    assert cloud.deleted == []


def test_a_failed_one_whose_owner_is_over_is_deleted_as_well(dialect: Dialect) -> None:
    cloud = cloud_of(OURS, OVER, cluster={"status": "FAILED"})
    assert [finding.fate for finding in cloud.swept(dialect)] == [Fate.DELETED]


def test_one_that_ends_anyway_is_not_mentioned(dialect: Dialect) -> None:
    assert cloud_of(OURS, OVER, cluster={"status": "Deleting"}).swept(dialect) == []


def test_an_entry_without_an_id_is_told_and_keeps_no_other_from_being_judged(dialect: Dialect) -> None:
    cloud = cloud_of(OURS, OVER, unreadable=["odd"])
    assert [finding.fate for finding in cloud.swept(dialect)] == [Fate.DELETED]
    assert any("named 'odd', has no id" in note.message for note in cloud.notes)


def test_a_dry_run_deletes_nothing(dialect: Dialect) -> None:
    cloud = cloud_of(OURS, OVER)
    assert [finding.fate for finding in cloud.swept(dialect, delete=False)] == [Fate.FORGOTTEN]
    assert cloud.deleted == []


def test_an_airflow_without_an_id_goes_by_its_entries(dialect: Dialect) -> None:
    assert cloud_of(ENDED, None).swept(dialect, deployment=None)[0].fate is Fate.SPARED
    assert cloud_of(ENDED, RUNNING).swept(dialect, deployment=None)[0].fate is Fate.DELETED


def test_a_second_cluster_of_a_running_owner_goes_if_the_recorded_one_lives(dialect: Dialect) -> None:
    cloud = cloud_of(OURS, RUNNING)
    cloud.clusters.append(cluster_with("c-2", cluster_name=OURS))
    findings = cloud.swept(dialect)
    assert [(f.cluster.cluster_id, f.fate) for f in findings] == [("c-1", Fate.SPARED), ("c-2", Fate.DELETED)]
    assert findings[1].why == "its task works with cluster c-1"


def test_a_second_cluster_of_a_running_owner_stays_if_the_recorded_one_is_not_there(dialect: Dialect) -> None:
    cloud = cloud_of(OURS, RUNNING, cluster_id="c-2")
    assert [finding.fate for finding in cloud.swept(dialect)] == [Fate.SPARED]


def test_an_owner_that_came_back_to_life_meanwhile_keeps_its_cluster(dialect: Dialect) -> None:
    answers = iter([OVER, RUNNING])

    class Changing(Cloud):
        def standing_of(self, name: ClusterName) -> Standing | None:  # noqa: ARG002 - there is one
            return next(answers)

    cloud = Changing(clusters=[cluster_with("c-1", cluster_name=OURS)])
    assert [finding.fate for finding in cloud.swept(dialect)] == [Fate.SPARED]
    assert cloud.deleted == []


def test_a_deletion_that_is_refused_for_good_is_told(dialect: Dialect) -> None:
    cloud = cloud_of(OURS, OVER, refusal=PermissionDeniedError("no admin", status=403))
    (finding,) = cloud.swept(dialect)
    assert finding.fate is Fate.STUCK
    assert finding.why.endswith("but it cannot be deleted: timed out; no admin")


def test_one_that_does_not_go_in_time_is_told(dialect: Dialect) -> None:
    (finding,) = cloud_of(OURS, OVER, stays=True).swept(dialect)
    assert finding.fate is Fate.STUCK
    assert finding.why.endswith("but it is not gone: timed out")


def test_a_list_that_cannot_be_had_ends_a_sweep(dialect: Dialect) -> None:
    flow = sweep(dialect, lambda _: None, deployment="x", delete=True, timeout=60, poll_interval=5)
    with pytest.raises(ServerError):
        Script([ServerError("503.", status=503)]).drive(flow)


def test_all_are_asked_to_go_before_the_first_is_waited_for(dialect: Dialect) -> None:
    cloud = cloud_of(OURS, OVER)
    cloud.clusters.append(cluster_with("c-2", cluster_name=OURS))
    cloud.swept(dialect)
    assert cloud.requests[:4] == ["GET", "DELETE", "DELETE", "GET"]


def test_a_finding_counts_the_gpus_that_the_answer_tells() -> None:
    cluster = cluster_with(num_gpus=16)
    assert Finding(cluster, Fate.SPARED, "").num_gpus == 16
    assert Finding(cluster_with(), Fate.SPARED, "").num_gpus == 0


def test_one_that_is_refused_keeps_no_other_waiting(dialect: Dialect) -> None:
    """Each is asked once before one that is refused is asked again, for as long as there is time."""
    cloud = cloud_of(OURS, OVER, refusal=RequestRefusedError("it is busy", status=409))
    cloud.clusters.append(cluster_with("c-2", cluster_name=OPEN))
    cloud.standings = {OURS: OVER, OPEN: OVER}
    cloud.swept(dialect)
    asked = [step.path.rsplit("/", 1)[-1] for step in cloud.steps if isinstance(step, Call) and step.method == "DELETE"]
    assert asked[:2] == ["c-1", "c-2"]


def test_one_that_is_accepted_at_last_is_deleted(dialect: Dialect) -> None:
    cloud = cloud_of(OURS, OVER, refusal=RequestRefusedError("it is busy", status=409), refusals=1)
    (finding,) = cloud.swept(dialect)
    assert (finding.fate, cloud.deleted) == (Fate.DELETED, ["c-1"])

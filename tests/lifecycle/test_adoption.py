"""Several clusters of one owner, and clusters past their end of life: which one stays, which ones are given back."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_together.api.call import Ask, Call, Flow, Pause, Step
from airflow_provider_together.api.dialects import Dialect, TCloud
from airflow_provider_together.api.models import Cluster, Listing
from airflow_provider_together.exceptions import (
    NotFoundError,
    OutcomeUnknownError,
    ServerError,
    TogetherError,
    TransientError,
)
from airflow_provider_together.lifecycle.create import create_or_adopt
from airflow_provider_together.lifecycle.name import ClusterName
from airflow_provider_together.lifecycle.owner import Creation, Identity, Record
from airflow_provider_together.lifecycle.reservation import Reservation
from tests.lifecycle.test_create import (
    LATER,
    LONG_AGO,
    NOW,
    OUR_IDENTITY,
    OUR_SPEC,
    OURS,
    OWNER,
    Create,
    creating,
    deleted,
    made_at,
)
from tests.support.engine import cluster_with, spec_with

NOT_FOUND = NotFoundError("no such cluster.", status=404)
BUSY = ServerError("503.", status=503)
MINE = cluster_with("mine", cluster_name=OURS)
RIVAL = cluster_with("rival", cluster_name=OURS)
ENDING = cluster_with("ending", cluster_name=OURS, status="Deleting")
#: The first steps of two tries, of which every order is tried: beyond the claim of the slower one.
_STEPS = 14
PAST = Record(OURS, "past", LONG_AGO)
RETRY = replace(OUR_IDENTITY, is_retry=True)


def lived_until(hours_ago: float, **changes: Any) -> str:
    """Return a name whose life has ended that long ago."""
    owner = replace(OWNER, **changes)
    return str(ClusterName.of(owner, now=NOW, lifetime=-timedelta(hours=hours_ago)))


class Shared:
    """Several flows of one owner on one cloud: what one records, the others recall."""

    def __init__(self) -> None:
        self.clusters: dict[str, Cluster] = {}
        self.record = Record()
        self.made = 0
        self.now = 0.0

    def recall(self) -> Record:
        return self.record

    def begin(self, cluster_name: str, reservation: Reservation | None) -> None:
        self.record = self.record.begun(cluster_name, reservation)

    def withdraw(self) -> None:
        self.record = self.record.withdrawn()

    def keep(self, cluster: Cluster) -> None:
        self.record = self.record.kept(cluster, now=0.0)

    def step(self, flow: Flow[Creation], step: Any) -> Any:
        """Do one step and return the next; a flow's end is raised as StopIteration."""
        answer: Any = self.now
        if isinstance(step, Call):
            answer = self._answer(step)
        elif isinstance(step, Ask):
            answer = step.answer()
        return flow.throw(answer) if isinstance(answer, TogetherError) else flow.send(answer)

    def _answer(self, call: Call[Any]) -> Any:
        if call.method == "POST":
            self.made += 1
            cluster = cluster_with(f"c-{9 - self.made}", cluster_name=OURS)
            self.clusters[cluster.cluster_id] = cluster
            return cluster
        cluster_id = call.path.rsplit("/", 1)[-1]
        if call.method == "DELETE":
            return self.clusters.pop(cluster_id, NOT_FOUND)
        if cluster_id.startswith("c-"):
            return self.clusters.get(cluster_id, NOT_FOUND)
        return Listing(self.clusters.values())


def test_two_tries_at_the_same_time_end_with_one_cluster_known_to_both() -> None:
    """In every order of their first steps; the older API tells no time of creation to go by."""
    for order in range(2**_STEPS):
        _race(order)


def _race(order: int) -> None:
    """Run two tries; requests take no time here, so one that pauses sleeps as long as the other one is busy."""
    shared = Shared()
    flows = [create_or_adopt(TCloud(), OUR_SPEC, OUR_IDENTITY, shared, if_exists="adopt") for _ in range(2)]
    steps: list[Any] = [next(flow) for flow in flows]
    awake_at = [0.0, 0.0]
    ends: dict[int, Creation] = {}
    turn = 0
    while len(ends) < 2:
        awake = [who for who in range(2) if who not in ends and awake_at[who] <= shared.now]
        if not awake:
            shared.now = min(awake_at[who] for who in range(2) if who not in ends)
            continue
        wanted = (order >> turn) & 1 if turn < _STEPS else turn % 2
        who = wanted if wanted in awake else awake[0]
        turn += 1
        try:
            steps[who] = shared.step(flows[who], steps[who])
        except StopIteration as end:
            ends[who] = end.value
        else:
            awake_at[who] = shared.now + (steps[who].seconds if isinstance(steps[who], Pause) else 0.0)
    assert list(shared.clusters) == [ends[0].cluster.cluster_id]
    assert ends[1] == ends[0]
    assert shared.record.cluster_id == ends[0].cluster.cluster_id


class Overtaken(Create):
    """A create beside which another try records its cluster, as soon as this one has sent a given request."""

    after = "POST"

    def _answer(self, step: Step, left: list[Any]) -> Any:
        answer = super()._answer(step, left)
        if isinstance(step, Call) and step.method == self.after:
            self.record, self.known["rival"] = Record(OURS, "rival"), RIVAL
        return answer


def test_a_second_try_that_meets_another_ones_record_gives_its_own_cluster_back(dialect: Dialect) -> None:
    script = Overtaken(dialect, [[], MINE], gets=(), deletion=True)
    end = script.drive(create_or_adopt(dialect, OUR_SPEC, OUR_IDENTITY, script, if_exists="adopt"))
    assert end == Creation(RIVAL, is_ours=True)
    assert deleted(script) == ["mine"]


def test_a_try_that_is_told_of_another_ones_cluster_before_it_asks_takes_that(dialect: Dialect) -> None:
    script = Overtaken(dialect, [[]], gets=(), deletion=True)
    script.after = "GET"
    end = script.drive(create_or_adopt(dialect, OUR_SPEC, OUR_IDENTITY, script, if_exists="adopt"))
    assert end == Creation(RIVAL, is_ours=True)
    assert "POST" not in script.requests


def test_the_one_on_record_stays_even_if_an_older_one_turns_up(dialect: Dialect) -> None:
    mine, rival = (made_at(hour, cluster_id=name, cluster_name=OURS) for hour, name in ((12, "mine"), (9, "rival")))
    script, end = creating(dialect, [[], mine, [mine, rival]], spec=OUR_SPEC, identity=OUR_IDENTITY)
    assert end == Creation(mine, is_ours=True)
    assert deleted(script) == ["rival"]
    assert script.record.cluster_id == "mine"


def test_the_older_of_two_stays_if_it_was_just_made(dialect: Dialect) -> None:
    mine, rival = (made_at(hour, cluster_id=name, cluster_name=OURS) for hour, name in ((9, "mine"), (12, "rival")))
    script, end = creating(dialect, [[], mine, [mine, rival]], spec=OUR_SPEC, identity=OUR_IDENTITY)
    assert end == Creation(mine, is_ours=True)
    assert deleted(script) == ["rival"]


@pytest.mark.parametrize("look", [NOT_FOUND, cluster_with("mine", cluster_name=OURS, status="Deleting")])
def test_where_another_try_has_chosen_already_its_choice_stays(dialect: Dialect, look: Any) -> None:
    answers = [[], MINE, [MINE, RIVAL], [RIVAL]]
    script, end = creating(dialect, answers, gets=[look], spec=OUR_SPEC, identity=OUR_IDENTITY)
    assert end == Creation(RIVAL, is_ours=True)
    assert deleted(script) == []


def test_a_look_that_fails_while_choosing_counts_as_alive(dialect: Dialect) -> None:
    answers = [[], MINE, [MINE, RIVAL], [RIVAL]]
    script, end = creating(dialect, answers, gets=[BUSY], spec=OUR_SPEC, identity=OUR_IDENTITY)
    assert end == Creation(MINE, is_ours=True)
    assert deleted(script) == ["rival"]


def test_a_first_try_looks_once_after_it_has_asked(dialect: Dialect) -> None:
    script, _ = creating(dialect, [[], MINE, []], spec=OUR_SPEC, identity=OUR_IDENTITY)
    assert script.requests == ["GET", "POST", "GET"]
    assert script.pauses == []


def test_a_retry_looks_for_as_long_as_a_list_may_lag(dialect: Dialect) -> None:
    script, end = creating(dialect, [[], MINE, [], [MINE], BUSY, [MINE]], spec=OUR_SPEC, identity=RETRY)
    assert end == Creation(MINE, is_ours=True)
    assert sum(script.pauses) == 60


def test_a_look_after_the_post_that_fails_does_not_lose_the_cluster(dialect: Dialect) -> None:
    script, end = creating(dialect, [[], MINE, BUSY], spec=OUR_SPEC, identity=OUR_IDENTITY)
    assert end == Creation(MINE, is_ours=True)
    assert script.record.cluster_id == "mine"


def test_a_surplus_that_cannot_be_deleted_now_does_not_fail_the_create(dialect: Dialect) -> None:
    several = [cluster_with("a", cluster_name=OURS), cluster_with("b", cluster_name=OURS)]
    script, end = creating(dialect, [several], deletion=BUSY, spec=OUR_SPEC, identity=OUR_IDENTITY)
    assert end == Creation(several[0], is_ours=True)
    assert any("still billed" in note.message for note in script.notes)


def test_a_surplus_that_is_gone_already_is_no_trouble(dialect: Dialect) -> None:
    several = [cluster_with("a", cluster_name=OURS), cluster_with("b", cluster_name=OURS)]
    script, _ = creating(dialect, [several], deletion=NOT_FOUND, spec=OUR_SPEC, identity=OUR_IDENTITY)
    assert not any("still billed" in note.message for note in script.notes)


@pytest.mark.parametrize("failed", [OURS, LATER])
def test_a_failed_one_of_ours_is_given_back_and_replaced(dialect: Dialect, failed: str) -> None:
    ruin = cluster_with("ruin", cluster_name=failed, status="FAILED")
    script, end = creating(dialect, [[ruin], MINE, [MINE]], spec=OUR_SPEC, identity=OUR_IDENTITY)
    assert end == Creation(MINE, is_ours=True)
    assert deleted(script) == ["ruin"]


def test_a_failed_one_of_a_users_own_name_is_given_back_only_if_it_is_on_record(dialect: Dialect) -> None:
    ruin, made = cluster_with("ruin", cluster_name="train", status="FAILED"), cluster_with("c-9", cluster_name="train")
    script, _ = creating(dialect, [[ruin], made], record=Record("train", "ruin", LONG_AGO))
    assert deleted(script) == ["ruin"]
    script, end = creating(dialect, [[ruin], made])
    assert end == Creation(made, is_ours=True)
    assert deleted(script) == []


def test_a_create_gives_back_what_is_past_its_end_of_life(dialect: Dialect) -> None:
    forgotten = cluster_with("old", cluster_name=lived_until(3, run_id="yesterday"))
    script, end = creating(
        dialect, [[forgotten], MINE, [MINE]], spec=OUR_SPEC, identity=OUR_IDENTITY, heal=OWNER.deployment
    )
    assert end == Creation(MINE, is_ours=True)
    assert deleted(script) == ["old"]


@pytest.mark.parametrize(
    "stranger",
    [
        cluster_with("c-1", cluster_name=lived_until(3, run_id="yesterday", deployment="other")),
        cluster_with("c-1", cluster_name=lived_until(-3, run_id="yesterday")),
        cluster_with("c-1", cluster_name=lived_until(3, run_id="yesterday"), status="Deleting"),
        cluster_with("c-1", cluster_name="train-20200101t0000z"),
        cluster_with("c-1", cluster_name=str(ClusterName.of(replace(OWNER, run_id="x"), now=NOW))),
    ],
    ids=["another deployment", "alive", "ending", "not ours", "open end"],
)
def test_a_create_leaves_everything_else_alive(dialect: Dialect, stranger: Cluster) -> None:
    script, _ = creating(
        dialect, [[stranger], MINE, [MINE]], spec=OUR_SPEC, identity=OUR_IDENTITY, heal=OWNER.deployment
    )
    assert deleted(script) == []


def test_a_create_that_shall_not_heal_gives_nothing_back(dialect: Dialect) -> None:
    forgotten = cluster_with("old", cluster_name=lived_until(3, run_id="yesterday"))
    script, _ = creating(dialect, [[forgotten], MINE, [MINE]], spec=OUR_SPEC, identity=OUR_IDENTITY)
    assert deleted(script) == []


@pytest.mark.parametrize("heal", [None, OWNER.deployment])
def test_one_of_this_owner_past_its_end_of_life_is_replaced(dialect: Dialect, heal: str | None) -> None:
    old = cluster_with("old", cluster_name=lived_until(1))
    script, end = creating(dialect, [[old], MINE, [MINE]], spec=OUR_SPEC, identity=OUR_IDENTITY, heal=heal)
    assert end == Creation(MINE, is_ours=True)
    assert deleted(script) == ["old"]


def test_after_a_lost_answer_a_rival_is_settled_as_well(dialect: Dialect) -> None:
    lost = OutcomeUnknownError("lost")
    script, end = creating(
        dialect, [[], lost, *[[MINE, RIVAL]] * 2, [MINE]], spec=OUR_SPEC, identity=Identity(owner=OWNER)
    )
    assert end == Creation(MINE, is_ours=True)
    assert deleted(script) == ["rival"]


def test_two_of_a_users_own_name_are_told_apart_by_the_record_alone(dialect: Dialect) -> None:
    spec, made = spec_with(), cluster_with("mine", cluster_name="train")
    script, end = creating(dialect, [[], made], spec=spec)
    assert end == Creation(made, is_ours=True)
    assert script.requests == ["GET", "POST"]


def test_of_two_tries_for_a_users_own_name_the_one_that_is_not_on_record_gives_way(dialect: Dialect) -> None:
    rival = cluster_with("rival", cluster_name="train")

    class OvertakenLater(Create):
        def _answer(self, step: Step, left: list[Any]) -> Any:
            if isinstance(step, Pause) and step.seconds:
                self.record, self.known["rival"] = Record("train", "rival"), rival
            return super()._answer(step, left)

    script = OvertakenLater(dialect, [[], cluster_with("mine", cluster_name="train")], gets=(), deletion=True)
    end = script.drive(create_or_adopt(dialect, spec_with(), Identity(), script, if_exists="fail"))
    assert end == Creation(rival, is_ours=True)
    assert deleted(script) == ["mine"]


def test_a_create_whose_find_was_given_back_meanwhile_starts_over(dialect: Dialect) -> None:
    gone = cluster_with("gone", cluster_name=OURS)
    script, end = creating(
        dialect, [[gone], [], MINE, [MINE]], gets=[ENDING, ENDING], spec=OUR_SPEC, identity=OUR_IDENTITY, record=PAST
    )
    assert end == Creation(MINE, is_ours=True)
    assert script.requests.count("POST") == 1


def test_a_create_that_gives_way_to_one_that_is_gone_by_then_starts_over(dialect: Dialect) -> None:
    script = Overtaken(dialect, [[], MINE, [MINE]], gets=[RIVAL, ENDING, ENDING], deletion=True)
    end = script.drive(create_or_adopt(dialect, OUR_SPEC, OUR_IDENTITY, script, if_exists="adopt"))
    assert end == Creation(MINE, is_ours=True)
    assert deleted(script) == []


def test_tries_that_give_back_each_others_clusters_for_ever_end_with_an_error(dialect: Dialect) -> None:
    gone = cluster_with("gone", cluster_name=OURS)
    script, end = creating(dialect, [[gone]], gets=[ENDING] * 99, spec=OUR_SPEC, identity=OUR_IDENTITY)
    assert type(end) is TransientError
    assert "POST" not in script.requests


def test_nothing_is_given_back_for_a_cluster_that_is_not_seen_alive(dialect: Dialect) -> None:
    several = [cluster_with("a", cluster_name=OURS), cluster_with("b", cluster_name=OURS)]
    script, end = creating(
        dialect, [several, several, [several[1]]], gets=[ENDING], spec=OUR_SPEC, identity=OUR_IDENTITY
    )
    assert end == Creation(several[1], is_ours=True)
    assert deleted(script) == []


def test_where_none_of_several_is_left_one_is_made(dialect: Dialect) -> None:
    several = [cluster_with("a", cluster_name=OURS), cluster_with("b", cluster_name=OURS)]
    _, end = creating(dialect, [several, [], MINE, [MINE]], spec=OUR_SPEC, identity=OUR_IDENTITY)
    assert end == Creation(MINE, is_ours=True)


def test_where_none_of_several_ever_turns_out_to_live_one_is_made(dialect: Dialect) -> None:
    several = [cluster_with("a", cluster_name=OURS), cluster_with("b", cluster_name=OURS)]
    answers = [*[several] * 6, MINE, [MINE]]
    _, end = creating(dialect, answers, gets=[ENDING] * 5, spec=OUR_SPEC, identity=OUR_IDENTITY)
    assert end == Creation(MINE, is_ours=True)


def test_a_failed_one_on_record_that_the_list_misses_is_given_back(dialect: Dialect) -> None:
    ruin, made = cluster_with("ruin", cluster_name="train", status="FAILED"), cluster_with("c-9", cluster_name="train")
    script, end = creating(dialect, [[], made], gets=[ruin], record=Record("train", "ruin", LONG_AGO))
    assert end == Creation(made, is_ours=True)
    assert deleted(script) == ["ruin"]


def test_one_on_record_that_ends_already_is_left_to_end(dialect: Dialect) -> None:
    ending = cluster_with("old", cluster_name="train", status="Deleting")
    made = cluster_with("c-9", cluster_name="train")
    script, _ = creating(dialect, [[], made], gets=[ending], record=Record("train", "old", LONG_AGO))
    assert deleted(script) == []


def test_of_several_one_that_the_list_does_not_show_yet_counts_if_it_was_just_made(dialect: Dialect) -> None:
    script, end = creating(dialect, [[], MINE, [RIVAL], [RIVAL]], spec=OUR_SPEC, identity=OUR_IDENTITY)
    assert end == Creation(MINE, is_ours=True)
    assert deleted(script) == ["rival"]

"""Making a cluster at most once, driven by hand: what is asked, in which order, and what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any

import pytest

from airflow_provider_together.api.call import Call, Note, Pause, Save, Step
from airflow_provider_together.api.dialects import Compute, Dialect, TCloud
from airflow_provider_together.api.models import Cluster, Listing
from airflow_provider_together.api.settings import DEFAULT_VISIBILITY
from airflow_provider_together.exceptions import (
    AuthenticationError,
    MalformedAnswerError,
    NameTakenError,
    NotFoundError,
    NotSentError,
    OutcomeUnknownError,
    OutOfStockError,
    PermissionDeniedError,
    RateLimitError,
    RequestRefusedError,
    ServerError,
    SpecError,
    SpecMismatchError,
    TogetherError,
)
from airflow_provider_together.lifecycle.create import IfExists, create_or_adopt
from airflow_provider_together.lifecycle.name import ClusterName, Owner
from airflow_provider_together.lifecycle.owner import Creation, Identity, Record
from tests.support.driving import Script
from tests.support.engine import cluster_with, spec_with

NOW = datetime(2026, 1, 31, 15, 30, tzinfo=UTC)
OWNER = Owner("airflow", "train", "run", "create")
OURS = str(ClusterName.of(OWNER, now=NOW, lifetime=timedelta(days=1)))
LATER = str(ClusterName.of(OWNER, now=NOW + timedelta(hours=1), lifetime=timedelta(days=1)))
OTHERS = str(ClusterName.of(replace(OWNER, deployment="other"), now=NOW, lifetime=timedelta(days=1)))

SPEC = spec_with()
OUR_SPEC = spec_with(cluster_name=OURS)
OUR_IDENTITY = Identity(owner=OWNER)

ASKED = Record(OURS, has_open_request=True)
LONG_AGO = (NOW - timedelta(hours=1)).timestamp()

NOT_FOUND = NotFoundError("no such cluster.", status=404)
BUSY = ServerError("503.", status=503)
LOST = OutcomeUnknownError("The answer was lost.")
REFUSALS = [
    OutOfStockError("none left"),
    RateLimitError("slow down"),
    NotSentError("refused"),
    RequestRefusedError("bad", status=400),
    PermissionDeniedError("no admin", status=403),
]


class Create(Script):
    """
    A create: lists and POSTs are answered in order, the rest as a cloud of those clusters would.

    :param gets: answers to looks at one cluster, in order; by default it is as it was told last, until it is deleted.
    :param deletion: the answer to deletions.
    """

    def __init__(self, dialect: Dialect, answers: Sequence[Any], *, gets: Sequence[Any], deletion: Any) -> None:
        super().__init__(answers)
        self.list_path = dialect.list_clusters().path
        self.gets = list(gets)
        self.deletion = deletion
        self.known: dict[str, Any] = {}

    def _answer(self, step: Step, left: list[Any]) -> Any:
        if not isinstance(step, Call):
            return super()._answer(step, left)
        cluster_id = step.path.rsplit("/", 1)[-1]
        if step.method == "DELETE":
            self.known[cluster_id] = NOT_FOUND
            return self.deletion
        if step.method == "GET" and step.path != self.list_path:
            return self.gets.pop(0) if self.gets else self.known.get(cluster_id, NOT_FOUND)
        answer = super()._answer(step, left)
        told = answer if isinstance(answer, list) else [answer]
        self.known.update({one.cluster_id: one for one in told if isinstance(one, Cluster)})
        return answer

    @property
    def requests(self) -> list[str]:
        """Methods of all requests, in order; a look at one cluster is ``get``."""
        return [
            "get" if step.method == "GET" and step.path != self.list_path else step.method
            for step in self.steps
            if isinstance(step, Call)
        ]


def creating(
    dialect: Dialect,
    answers: Sequence[Any],
    *,
    gets: Sequence[Any] = (),
    deletion: Any = True,
    spec: Any = SPEC,
    identity: Identity | None = None,
    record: Record | None = None,
    if_exists: IfExists = "fail",
    heal: str | None = None,
) -> tuple[Create, Creation | TogetherError]:
    """Run a create and return its script and its end."""
    script = Create(dialect, answers, gets=gets, deletion=deletion)
    script.record, script.now = record or Record(), NOW.timestamp()
    try:
        flow = create_or_adopt(dialect, spec, identity or Identity(), script, if_exists=if_exists, heal=heal)
        return script, script.drive(flow)
    except TogetherError as error:
        return script, error


def deleted(script: Script) -> list[str]:
    """Return the ids that the flow asked to delete."""
    return [step.path.rsplit("/", 1)[-1] for step in script.steps if isinstance(step, Call) and step.method == "DELETE"]


def made_at(hour: int, **fields: Any) -> Cluster:
    return cluster_with(**{"created_at": f"2026-01-31T{hour:02}:00:00Z", "cluster_name": "train", **fields})


def test_where_nothing_is_a_cluster_is_made(dialect: Dialect) -> None:
    script, end = creating(dialect, [[], cluster_with("c-9", cluster_name="train")])
    assert script.shape == ["GET", "begin", "POST", "keep"]
    assert isinstance(end, Creation)
    assert (end.cluster.cluster_id, end.is_ours) == ("c-9", True)


def test_the_intent_names_the_cluster_and_what_it_will_be(dialect: Dialect) -> None:
    script, _ = creating(dialect, [[], cluster_with("c-9")])
    assert script.saved == [("begin", "train"), ("keep", "c-9")]
    assert script.notes[0].message == "Asking for cluster 'train': 8 x H100_SXM in us-central-8, ON_DEMAND for 1 day."


def test_a_create_without_a_duration_does_not_speak_of_days() -> None:
    script, _ = creating(Compute(), [[], cluster_with()], spec=spec_with(duration_days=None))
    assert script.notes[0].message.endswith("ON_DEMAND.")


def test_what_the_api_adds_to_the_request_is_told_before_it_is_sent() -> None:
    script, _ = creating(Compute(), [[], cluster_with()], spec=spec_with(cluster_type="SLURM"))
    assert "asking for 64 GiB of shared memory" in script.notes[0].message
    assert script.notes[1].message.startswith("Asking for cluster")
    script, _ = creating(Compute(), [[], cluster_with()])
    assert script.notes[0].message.startswith("Asking for cluster")


def test_a_wrong_spec_is_refused_before_anything_is_asked() -> None:
    script, end = creating(TCloud(), [[]], spec=spec_with(slurm_image="x"))
    assert isinstance(end, SpecError)
    assert script.steps == []


def test_a_list_that_cannot_be_had_ends_a_create_before_its_post(dialect: Dialect) -> None:
    script, end = creating(dialect, [BUSY])
    assert (script.requests, end) == (["GET"], BUSY)


@pytest.mark.parametrize("if_exists", ["adopt", "fail"])
@pytest.mark.parametrize("status", ["QUEUED", "Ready", "Degraded", "Paused", "DEFROSTING"])
def test_a_live_one_of_ours_is_adopted(dialect: Dialect, status: str, if_exists: IfExists) -> None:
    mine = cluster_with("c-1", cluster_name=LATER, status=status)
    script, end = creating(dialect, [[mine]], spec=OUR_SPEC, identity=OUR_IDENTITY, if_exists=if_exists)
    assert script.shape == ["GET", "keep", "GET"]
    assert end == Creation(mine, is_ours=True)


@pytest.mark.parametrize("status", ["Deleting", "Deleted"])
def test_one_of_ours_that_is_ending_is_not_adopted(dialect: Dialect, status: str) -> None:
    ending = cluster_with("c-1", cluster_name=OURS, status=status)
    script, end = creating(
        dialect, [[ending], cluster_with("c-2"), [ending]], spec=OUR_SPEC, identity=OUR_IDENTITY, if_exists="adopt"
    )
    assert script.requests[-3:] == ["GET", "POST", "GET"]
    assert isinstance(end, Creation)
    assert end.cluster.cluster_id == "c-2"


@pytest.mark.parametrize("name", [OTHERS, "train", "", OURS[:-1], f"x{OURS}"])
def test_a_cluster_whose_name_does_not_prove_it_is_not_ours(dialect: Dialect, name: str) -> None:
    stranger = cluster_with("c-1", cluster_name=name)
    script, _ = creating(
        dialect, [[stranger], cluster_with("c-2"), [stranger]], spec=OUR_SPEC, identity=OUR_IDENTITY, if_exists="adopt"
    )
    assert script.requests == ["GET", "POST", "GET"]


def test_of_several_of_ours_the_oldest_is_adopted(dialect: Dialect) -> None:
    several = [made_at(12, cluster_id="b", cluster_name=OURS), made_at(9, cluster_id="c", cluster_name=LATER)]
    script, end = creating(dialect, [several], spec=OUR_SPEC, identity=OUR_IDENTITY)
    assert isinstance(end, Creation)
    assert end.cluster.cluster_id == "c"
    assert deleted(script) == ["b"]
    assert script.record.cluster_id == "c"


def test_a_recorded_one_of_ours_goes_before_an_older_one(dialect: Dialect) -> None:
    several = [made_at(12, cluster_id="b", cluster_name=OURS), made_at(9, cluster_id="c", cluster_name=LATER)]
    script, end = creating(dialect, [several], spec=OUR_SPEC, identity=OUR_IDENTITY, record=Record(OURS, "b", LONG_AGO))
    assert end == Creation(several[0], is_ours=True)
    assert deleted(script) == ["c"]


def test_of_several_of_a_users_own_name_none_is_deleted(dialect: Dialect) -> None:
    several = [made_at(12, cluster_id="b"), made_at(9, cluster_id="c")]
    script, end = creating(dialect, [several], record=Record("train", "b"))
    assert end == Creation(several[0], is_ours=True)
    assert deleted(script) == []


def test_where_no_creation_time_is_told_the_end_in_the_name_tells_the_oldest(dialect: Dialect) -> None:
    several = [cluster_with("a", cluster_name=LATER), cluster_with("b", cluster_name=OURS)]
    _, end = creating(dialect, [several], spec=OUR_SPEC, identity=OUR_IDENTITY)
    assert isinstance(end, Creation)
    assert end.cluster.cluster_id == "b"


def test_twins_are_told_apart_by_their_ids_whatever_their_order(dialect: Dialect) -> None:
    twins = [cluster_with(name, cluster_name=OURS) for name in ("b", "a", "c")]
    ends = [creating(dialect, [order], spec=OUR_SPEC, identity=OUR_IDENTITY)[1] for order in (twins, twins[::-1])]
    assert [end.cluster.cluster_id for end in ends if isinstance(end, Creation)] == ["a", "a"]


def test_where_no_creation_time_is_told_the_recorded_one_counts(dialect: Dialect) -> None:
    several = [cluster_with("a", cluster_name=OURS), cluster_with("b", cluster_name=LATER)]
    script, end = creating(
        dialect, [several], spec=OUR_SPEC, identity=OUR_IDENTITY, record=Record(LATER, "b", NOW.timestamp())
    )
    assert end == Creation(several[1], is_ours=True)
    assert deleted(script) == ["a"]


@pytest.mark.parametrize("record", [Record("train", "c-1"), Record("train", has_open_request=True)])
@pytest.mark.parametrize("if_exists", ["adopt", "fail"])
def test_a_recorded_id_or_an_open_request_makes_a_users_own_name_ours(
    dialect: Dialect, record: Record, if_exists: IfExists
) -> None:
    live = cluster_with("c-1", cluster_name="train")
    _, end = creating(dialect, [[live]], record=record, if_exists=if_exists)
    assert end == Creation(live, is_ours=True)


@pytest.mark.parametrize("record", [Record(), Record("train", "c-0"), Record("other", has_open_request=True)])
def test_a_users_own_name_that_lives_already_is_taken(dialect: Dialect, record: Record) -> None:
    script, end = creating(dialect, [[cluster_with("c-1", cluster_name="train")]], record=record)
    assert isinstance(end, NameTakenError)
    assert "cluster 'train' (c-1, Ready) lives already" in str(end)
    assert script.requests == ["GET"]


def test_a_users_own_name_that_lives_already_is_adopted_on_demand_and_stays_somebody_elses(dialect: Dialect) -> None:
    live = cluster_with("c-1", cluster_name="train")
    script, end = creating(dialect, [[live]], if_exists="adopt")
    assert end == Creation(live, is_ours=False)
    assert [type(note) for note in script.notes] == [Note]
    assert script.notes[0].message.endswith("It is not ours, so it stays alive.")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("region", "eu-1"),
        ("gpu_type", "H200_SXM"),
        ("num_gpus", 16),
        ("driver_version", "CUDA_12_6_560"),
        ("cluster_type", "SLURM"),
    ],
)
@pytest.mark.parametrize("identity", [OUR_IDENTITY, Identity()])
def test_a_live_one_that_differs_is_never_adopted(dialect: Dialect, identity: Identity, field: str, value: Any) -> None:
    spec = spec_with(cluster_name=OURS, cluster_type="KUBERNETES")
    live = cluster_with("c-1", cluster_name=OURS, **{field: value})
    script, end = creating(dialect, [[live]], spec=spec, identity=identity, if_exists="adopt")
    assert isinstance(end, SpecMismatchError)
    assert f"{field} is {value!r}, not {getattr(spec, field)!r}" in str(end)
    assert script.requests == ["GET"]


def test_what_an_answer_does_not_tell_is_no_difference(dialect: Dialect) -> None:
    live = cluster_with("c-1", cluster_name=OURS, region="us-central-8")
    assert isinstance(creating(dialect, [[live]], spec=OUR_SPEC, identity=OUR_IDENTITY)[1], Creation)


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda error: type(error).__name__)
def test_a_refused_create_withdraws_its_intent_and_raises(dialect: Dialect, refusal: TogetherError) -> None:
    script, end = creating(dialect, [[], refusal])
    assert script.shape == ["GET", "begin", "POST", "withdraw"]
    assert not script.record.has_open_request
    assert end is refusal


def test_after_a_lost_answer_what_shows_up_is_adopted(dialect: Dialect) -> None:
    late = cluster_with("c-9", cluster_name=OURS)
    script, end = creating(dialect, [[], LOST, [], [], [late]], spec=OUR_SPEC, identity=OUR_IDENTITY)
    assert script.requests == ["GET", "POST", "GET", "GET", "GET", "GET"]
    assert script.pauses == [1, 2, 4]
    assert [type(note) for note in script.notes] == [Save, Note, Save]
    assert end == Creation(late, is_ours=True)


def test_after_a_lost_answer_a_users_own_name_is_found_too(dialect: Dialect) -> None:
    late = cluster_with("c-9", cluster_name="train")
    assert creating(dialect, [[], LOST, [late]])[1] == Creation(late, is_ours=True)


def test_a_lost_answer_without_effect_is_an_unknown_outcome_and_never_a_second_post(dialect: Dialect) -> None:
    script, end = creating(dialect, [[], LOST, []])
    assert type(end) is OutcomeUnknownError
    assert end.__cause__ is LOST
    assert "looks again before it asks again" in str(end)
    assert script.requests.count("POST") == 1
    assert sum(script.pauses) == DEFAULT_VISIBILITY
    assert script.saved == [("begin", "train")]


def test_a_look_that_fails_after_a_lost_answer_is_no_answer(dialect: Dialect) -> None:
    late = cluster_with("c-9", cluster_name="train")
    script, end = creating(dialect, [[], LOST, BUSY, BUSY, [late]])
    assert end == Creation(late, is_ours=True)
    assert script.requests.count("POST") == 1


def test_looks_that_all_fail_after_a_lost_answer_leave_the_outcome_unknown(dialect: Dialect) -> None:
    script, end = creating(dialect, [[], LOST, BUSY])
    assert type(end) is OutcomeUnknownError
    assert sum(script.pauses) == DEFAULT_VISIBILITY


def test_a_key_that_is_refused_after_a_lost_answer_leaves_the_outcome_unknown(dialect: Dialect) -> None:
    script, end = creating(dialect, [[], LOST, AuthenticationError("no", status=401)])
    assert type(end) is OutcomeUnknownError
    assert "looks before it asks again" in str(end)
    assert script.record.has_open_request


def test_a_key_that_is_given_back_after_a_lost_answer_ends_nothing(dialect: Dialect) -> None:
    late = cluster_with("c-9", cluster_name="train")
    refusal = AuthenticationError("no", status=401)
    assert creating(dialect, [[], LOST, refusal, refusal, [late]])[1] == Creation(late, is_ours=True)


def test_a_try_that_follows_a_killed_one_looks_for_as_long_as_a_list_may_lag(dialect: Dialect) -> None:
    late = cluster_with("c-9", cluster_name=OURS)
    script, end = creating(
        dialect,
        [[], [], BUSY, [late]],
        spec=OUR_SPEC,
        identity=OUR_IDENTITY,
        record=ASKED,
    )
    assert end == Creation(late, is_ours=True)
    assert "POST" not in script.requests


def test_a_try_that_follows_a_killed_one_asks_when_nothing_has_shown_up(dialect: Dialect) -> None:
    made = cluster_with("c-9", cluster_name=OURS)
    lists: list[Any] = [[]] * 8
    script, end = creating(dialect, [*lists, made, [made]], spec=OUR_SPEC, identity=OUR_IDENTITY, record=ASKED)
    assert end == Creation(made, is_ours=True)
    before = takewhile(lambda step: not (isinstance(step, Call) and step.method == "POST"), script.steps)
    assert sum(step.seconds for step in before if isinstance(step, Pause)) == DEFAULT_VISIBILITY
    assert script.saved == [("begin", OURS), ("keep", "c-9")]


def test_a_try_that_cannot_look_for_what_a_killed_one_has_asked_for_asks_nothing(dialect: Dialect) -> None:
    script, end = creating(dialect, [[], BUSY], spec=OUR_SPEC, identity=OUR_IDENTITY, record=ASKED)
    assert end is BUSY
    assert "POST" not in script.requests


def test_a_try_that_follows_a_deleted_cluster_asks_at_once(dialect: Dialect) -> None:
    made = cluster_with("c-9", cluster_name=OURS)
    script, end = creating(
        dialect,
        [[], made, [made]],
        spec=OUR_SPEC,
        identity=OUR_IDENTITY,
        record=Record(OURS, "c-1", LONG_AGO),
    )
    assert end == Creation(made, is_ours=True)
    assert script.pauses == []


def test_a_recorded_cluster_that_the_list_misses_is_asked_for_by_its_id(dialect: Dialect) -> None:
    live = cluster_with("c-1", cluster_name=OURS)
    record = Record(OURS, "c-1", LONG_AGO)
    script, end = creating(dialect, [[]], gets=[live, live], spec=OUR_SPEC, identity=OUR_IDENTITY, record=record)
    assert end == Creation(live, is_ours=True)
    assert script.requests == ["GET", "get", "get"]


def test_a_cluster_that_was_recorded_just_now_is_looked_for_until_it_may_be_visible(dialect: Dialect) -> None:
    live = cluster_with("c-1", cluster_name=OURS)
    record = Record(OURS, "c-1", NOW.timestamp() - 10)
    gets = [NOT_FOUND, NOT_FOUND, live, live]
    script, end = creating(dialect, [[]], gets=gets, spec=OUR_SPEC, identity=OUR_IDENTITY, record=record)
    assert end == Creation(live, is_ours=True)
    assert script.pauses == [15, 15]


def test_a_cluster_that_was_recorded_just_now_and_stays_unknown_is_replaced(dialect: Dialect) -> None:
    made = cluster_with("c-9", cluster_name=OURS)
    record = Record(OURS, "c-1", NOW.timestamp() - 10)
    script, end = creating(dialect, [[], made, [made]], spec=OUR_SPEC, identity=OUR_IDENTITY, record=record)
    assert end == Creation(made, is_ours=True)
    assert sum(script.pauses) == DEFAULT_VISIBILITY - 10


def test_a_flow_may_be_ended_at_any_step(dialect: Dialect) -> None:
    for count in range(1, 9):
        script = Script([[], LOST, []], most_steps=count)
        flow = create_or_adopt(dialect, SPEC, Identity(), script, if_exists="fail")
        with pytest.raises(AssertionError, match="not over"):
            script.drive(flow)
        flow.close()


def hidden(*names: str) -> Listing[Cluster]:
    """A list of nothing that can be read."""
    return Listing(unreadable=names)


@pytest.mark.parametrize(("spec", "identity", "name"), [(SPEC, Identity(), "train"), (OUR_SPEC, OUR_IDENTITY, LATER)])
def test_while_an_entry_of_its_name_has_no_id_nothing_is_asked_for(
    dialect: Dialect, spec: Any, identity: Identity, name: str
) -> None:
    script, end = creating(dialect, [hidden(name)], spec=spec, identity=identity)
    assert isinstance(end, MalformedAnswerError)
    assert "POST" not in script.requests


@pytest.mark.parametrize("names", [("other",), (OTHERS, ""), ("",)])
def test_entries_of_others_without_an_id_keep_nobody_from_a_cluster(dialect: Dialect, names: tuple[str, ...]) -> None:
    script, end = creating(dialect, [hidden(*names), cluster_with("c-9"), []], spec=OUR_SPEC, identity=OUR_IDENTITY)
    assert isinstance(end, Creation)
    assert script.requests.count("POST") == 1


def test_one_without_a_name_keeps_those_from_a_second_who_may_have_a_first(dialect: Dialect) -> None:
    script, end = creating(dialect, [hidden("")], spec=OUR_SPEC, identity=OUR_IDENTITY, record=ASKED)
    assert isinstance(end, MalformedAnswerError)
    assert "POST" not in script.requests

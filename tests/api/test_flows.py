"""Operations of several requests, driven by hand: what is asked, in which order, and what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_together.api.call import Call, Note, Pause, Step
from airflow_provider_together.api.dialects import Compute, Dialect, TCloud
from airflow_provider_together.api.flows import (
    VISIBILITY_SECONDS,
    Created,
    Creation,
    Identity,
    IfExists,
    Intent,
    Withdrawn,
    create_or_adopt,
    delete_and_prove,
    ensure_shared_volume,
    find_by_name,
    look_once,
    prove_gone,
    wait_until_ready,
)
from airflow_provider_together.api.models import Cluster, SharedVolume
from airflow_provider_together.api.naming import ClusterName, Owner
from airflow_provider_together.api.polling import GoneWait, ReadyWait, Verdict
from airflow_provider_together.exceptions import (
    AuthenticationError,
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
from tests.api.driving import Script
from tests.api.support import VOLUME_SPEC, cluster_with, spec_with

NOW = datetime(2026, 1, 31, 15, 30, tzinfo=UTC)
OWNER = Owner("airflow", "train", "run", "create")
OURS = str(ClusterName.of(OWNER, now=NOW, lifetime=timedelta(days=1)))
LATER = str(ClusterName.of(OWNER, now=NOW + timedelta(hours=1), lifetime=timedelta(days=1)))
OTHERS = str(ClusterName.of(replace(OWNER, deployment="other"), now=NOW, lifetime=timedelta(days=1)))

SPEC = spec_with()
OUR_SPEC = spec_with(cluster_name=OURS)
OUR_IDENTITY = Identity(owner=OWNER)

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


def creating(
    dialect: Dialect,
    answers: Sequence[Any],
    *,
    spec: Any = SPEC,
    identity: Identity | None = None,
    if_exists: IfExists = "fail",
) -> tuple[Script, Creation | TogetherError]:
    """Run a create and return its script and its end."""
    script = Script(answers)
    try:
        return script, script.drive(create_or_adopt(dialect, spec, identity or Identity(), if_exists=if_exists))
    except TogetherError as error:
        return script, error


def made_at(hour: int, **fields: Any) -> Cluster:
    return cluster_with(**{"created_at": f"2026-01-31T{hour:02}:00:00Z", "cluster_name": "train", **fields})


# create_or_adopt


def test_where_nothing_is_a_cluster_is_made(dialect: Dialect) -> None:
    script, end = creating(dialect, [[], cluster_with("c-9", cluster_name="train")])
    assert script.shape == ["GET", "Intent", "POST", "Created"]
    assert isinstance(end, Creation)
    assert (end.cluster.cluster_id, end.is_ours) == ("c-9", True)


def test_the_intent_names_the_cluster_and_what_it_will_be(dialect: Dialect) -> None:
    intent, created = creating(dialect, [[], cluster_with("c-9")])[0].notes
    assert isinstance(intent, Intent)
    assert isinstance(created, Created)
    assert intent.cluster_name == "train"
    assert intent.message == "Asking for cluster 'train': 8 x H100_SXM in us-central-8, ON_DEMAND for 1 days."
    assert created.cluster is not None
    assert created.cluster.cluster_id == "c-9"


def test_a_create_without_a_duration_does_not_speak_of_days() -> None:
    script, _ = creating(Compute(), [[], cluster_with()], spec=spec_with(duration_days=None))
    assert script.notes[0].message.endswith("ON_DEMAND.")


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
    assert script.shape == ["GET", "Created"]
    assert end == Creation(mine, is_ours=True)


@pytest.mark.parametrize("status", ["FAILED", "Deleting", "Deleted"])
def test_one_of_ours_that_is_ending_is_not_adopted(dialect: Dialect, status: str) -> None:
    ending = cluster_with("c-1", cluster_name=OURS, status=status)
    script, end = creating(
        dialect, [[ending], cluster_with("c-2")], spec=OUR_SPEC, identity=OUR_IDENTITY, if_exists="adopt"
    )
    assert script.requests == ["GET", "POST"]
    assert isinstance(end, Creation)
    assert end.cluster.cluster_id == "c-2"


@pytest.mark.parametrize("name", [OTHERS, "train", "", OURS[:-1], f"x{OURS}"])
def test_a_cluster_whose_name_does_not_prove_it_is_not_ours(dialect: Dialect, name: str) -> None:
    stranger = cluster_with("c-1", cluster_name=name)
    script, _ = creating(
        dialect, [[stranger], cluster_with("c-2")], spec=OUR_SPEC, identity=OUR_IDENTITY, if_exists="adopt"
    )
    assert script.requests == ["GET", "POST"]


def test_of_several_of_ours_the_oldest_is_adopted(dialect: Dialect) -> None:
    several = [made_at(12, cluster_id="b", cluster_name=OURS), made_at(9, cluster_id="c", cluster_name=LATER)]
    _, end = creating(dialect, [several], spec=OUR_SPEC, identity=OUR_IDENTITY)
    assert isinstance(end, Creation)
    assert end.cluster.cluster_id == "c"


def test_where_no_creation_time_is_told_the_end_in_the_name_tells_the_oldest(dialect: Dialect) -> None:
    several = [cluster_with("a", cluster_name=LATER), cluster_with("b", cluster_name=OURS)]
    _, end = creating(dialect, [several], spec=OUR_SPEC, identity=OUR_IDENTITY)
    assert isinstance(end, Creation)
    assert end.cluster.cluster_id == "b"


def test_twins_are_told_apart_by_their_ids_whatever_their_order(dialect: Dialect) -> None:
    twins = [cluster_with(name, cluster_name=OURS) for name in ("b", "a", "c")]
    ends = [creating(dialect, [order], spec=OUR_SPEC, identity=OUR_IDENTITY)[1] for order in (twins, twins[::-1])]
    assert [end.cluster.cluster_id for end in ends if isinstance(end, Creation)] == ["a", "a"]


def test_a_recorded_one_goes_before_an_older_one(dialect: Dialect) -> None:
    several = [made_at(9, cluster_id="old"), made_at(12, cluster_id="noted")]
    _, end = creating(dialect, [several], identity=Identity(recorded_id="noted"))
    assert end == Creation(several[1], is_ours=True)


@pytest.mark.parametrize("identity", [Identity(recorded_id="c-1"), Identity(recorded_name="train")])
@pytest.mark.parametrize("if_exists", ["adopt", "fail"])
def test_a_recorded_id_or_name_makes_a_users_own_name_ours(
    dialect: Dialect, identity: Identity, if_exists: IfExists
) -> None:
    live = cluster_with("c-1", cluster_name="train")
    _, end = creating(dialect, [[live]], identity=identity, if_exists=if_exists)
    assert end == Creation(live, is_ours=True)


def test_a_users_own_name_that_lives_already_is_taken(dialect: Dialect) -> None:
    script, end = creating(dialect, [[cluster_with("c-1", cluster_name="train")]], identity=Identity(recorded_id="c-0"))
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
    assert script.shape == ["GET", "Intent", "POST", "Withdrawn"]
    assert isinstance(script.notes[-1], Withdrawn)
    assert end is refusal


def test_after_a_lost_answer_what_shows_up_is_adopted(dialect: Dialect) -> None:
    late = cluster_with("c-9", cluster_name=OURS)
    script, end = creating(dialect, [[], LOST, [], [], [late]], spec=OUR_SPEC, identity=OUR_IDENTITY)
    assert script.requests == ["GET", "POST", "GET", "GET", "GET"]
    assert script.pauses == [1, 2, 4]
    assert [type(note) for note in script.notes] == [Intent, Note, Created]
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
    assert sum(script.pauses) == VISIBILITY_SECONDS
    assert not [note for note in script.notes if isinstance(note, (Withdrawn, Created))]


def test_a_look_that_fails_after_a_lost_answer_is_no_answer(dialect: Dialect) -> None:
    late = cluster_with("c-9", cluster_name="train")
    script, end = creating(dialect, [[], LOST, BUSY, BUSY, [late]])
    assert end == Creation(late, is_ours=True)
    assert script.requests.count("POST") == 1


def test_looks_that_all_fail_after_a_lost_answer_leave_the_outcome_unknown(dialect: Dialect) -> None:
    script, end = creating(dialect, [[], LOST, BUSY])
    assert type(end) is OutcomeUnknownError
    assert sum(script.pauses) == VISIBILITY_SECONDS


def test_a_key_that_is_refused_after_a_lost_answer_ends_the_looking(dialect: Dialect) -> None:
    refusal = AuthenticationError("no", status=401)
    assert creating(dialect, [[], LOST, refusal])[1] is refusal


def test_a_flow_may_be_ended_at_any_step(dialect: Dialect) -> None:
    for count in range(1, 6):
        flow = create_or_adopt(dialect, SPEC, Identity(), if_exists="fail")
        answers: list[Any] = [[], None, LOST, None, 5.0]
        next(flow)
        for answer in answers[: count - 1]:
            flow.throw(answer) if isinstance(answer, TogetherError) else flow.send(answer)
        flow.close()


# waiting


def ready_wait(**changes: Any) -> ReadyWait:
    return ReadyWait("c-1", **{"started": 1000.0, "deadline": 4600.0, "poll_interval": 15.0, **changes})


def gone_wait(**changes: Any) -> GoneWait:
    return GoneWait("c-1", **{"started": 1000.0, "deadline": 4600.0, "poll_interval": 15.0, **changes})


def test_waiting_looks_at_the_given_pace_until_the_cluster_is_ready(dialect: Dialect) -> None:
    script = Script([cluster_with(status="QUEUED"), cluster_with(status="QUEUED"), cluster_with()])
    assert script.drive(wait_until_ready(dialect, ready_wait())).verdict is Verdict.READY
    assert script.shape == ["GET", "Note", "GET", "GET", "Note"]
    assert script.pauses == [15, 15]


def test_each_look_of_a_wait_is_sent_once_since_it_is_repeated_anyway(dialect: Dialect) -> None:
    script = Script([cluster_with()])
    script.drive(wait_until_ready(dialect, ready_wait()))
    assert [step.attempts for step in script.steps if isinstance(step, Call)] == [1]


def test_waiting_survives_faults_and_ends_at_the_deadline(dialect: Dialect) -> None:
    script = Script([BUSY, NOT_FOUND, BUSY])
    assert script.drive(wait_until_ready(dialect, ready_wait())).verdict is Verdict.TIMED_OUT
    assert script.now == 4600


def test_waiting_for_a_blank_id_is_an_error_at_once(dialect: Dialect) -> None:
    wait = ReadyWait("", started=1000.0, deadline=4600.0)
    with pytest.raises(SpecError):
        Script([BUSY]).drive(wait_until_ready(dialect, wait))


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [(cluster_with(status="QUEUED"), Verdict.GO_ON), (cluster_with(), Verdict.READY), (BUSY, Verdict.GO_ON)],
)
def test_one_look_is_one_request(dialect: Dialect, answer: Any, verdict: Verdict) -> None:
    script = Script([answer])
    assert script.drive(look_once(dialect, ready_wait())).verdict is verdict
    assert (script.requests, script.pauses) == (["GET"], [])


@pytest.mark.parametrize("poll_interval", [1.0, 15.0, 3600.0])
def test_one_look_settles_an_absence_in_half_a_minute(dialect: Dialect, poll_interval: float) -> None:
    script = Script([NOT_FOUND])
    wait = ready_wait(deadline=None, poll_interval=poll_interval)
    assert script.drive(look_once(dialect, wait)).verdict is Verdict.GONE
    assert sum(script.pauses) <= 30


def test_one_look_that_finds_a_lost_cluster_again_goes_on(dialect: Dialect) -> None:
    script = Script([NOT_FOUND, cluster_with(status="QUEUED")])
    assert script.drive(look_once(dialect, ready_wait())).verdict is Verdict.GO_ON


# the end of a cluster


class ByPath(Script):
    """A script whose answers depend on what is asked, not on how often."""

    def __init__(self, dialect: Dialect, *, get: Any, listed: Any) -> None:
        super().__init__([])
        self._list_path, self._get, self._listed = dialect.list_clusters().path, get, listed

    def _answer(self, step: Step, left: list[Any]) -> Any:
        if isinstance(step, Call):
            return self._listed if step.path == self._list_path else self._get
        return super()._answer(step, left)


def test_a_delete_is_over_when_neither_get_nor_list_shows_the_cluster(dialect: Dialect) -> None:
    script = Script([None, cluster_with(status="Deleting"), NOT_FOUND, NOT_FOUND, NOT_FOUND, [cluster_with("c-2")]])
    assert script.drive(delete_and_prove(dialect, gone_wait())).verdict is Verdict.GONE
    assert script.requests == ["DELETE", "GET", "GET", "GET", "GET", "GET"]
    assert [step.path for step in script.steps if isinstance(step, Call)][-1] == dialect.list_clusters().path


def test_a_list_that_lags_is_waited_for(dialect: Dialect) -> None:
    listed = [cluster_with("c-1", status="Deleting")]
    script = Script([NOT_FOUND, NOT_FOUND, NOT_FOUND, listed, NOT_FOUND, BUSY, NOT_FOUND, NOT_FOUND, NOT_FOUND, []])
    assert script.drive(prove_gone(dialect, gone_wait())).verdict is Verdict.GONE
    assert len(script.requests) == 10


def test_a_list_that_lags_for_ever_proves_nothing(dialect: Dialect) -> None:
    script = ByPath(dialect, get=NOT_FOUND, listed=[cluster_with("c-1")])
    assert script.drive(prove_gone(dialect, gone_wait())).verdict is Verdict.TIMED_OUT


@pytest.mark.parametrize("failing", [BUSY, NOT_FOUND, PermissionDeniedError("no", status=403)])
def test_a_list_that_cannot_be_had_proves_nothing(dialect: Dialect, failing: TogetherError) -> None:
    look = ByPath(dialect, get=NOT_FOUND, listed=failing).drive(prove_gone(dialect, gone_wait()))
    assert look.verdict in {Verdict.TIMED_OUT, Verdict.REFUSED}


def test_a_cluster_that_is_gone_already_is_proved_gone_all_the_same(dialect: Dialect) -> None:
    script = Script([NOT_FOUND, NOT_FOUND, NOT_FOUND, NOT_FOUND, []])
    assert script.drive(delete_and_prove(dialect, gone_wait())).verdict is Verdict.GONE
    assert script.requests == ["DELETE", "GET", "GET", "GET", "GET"]


def test_a_delete_is_asked_for_until_it_is_accepted(dialect: Dialect) -> None:
    script = Script([BUSY, BUSY, None, NOT_FOUND, NOT_FOUND, NOT_FOUND, []])
    assert script.drive(delete_and_prove(dialect, gone_wait())).verdict is Verdict.GONE
    assert script.requests[:4] == ["DELETE", "DELETE", "DELETE", "GET"]
    assert len([note for note in script.notes if "503" in note.message]) == 1


def test_a_delete_that_never_gets_through_ends_at_the_deadline(dialect: Dialect) -> None:
    script = Script([BUSY])
    assert script.drive(delete_and_prove(dialect, gone_wait())).verdict is Verdict.TIMED_OUT
    assert set(script.requests) == {"DELETE"}


def test_a_delete_that_is_refused_for_long_is_refused(dialect: Dialect) -> None:
    script = Script([PermissionDeniedError("no admin", status=403)])
    assert script.drive(delete_and_prove(dialect, gone_wait())).verdict is Verdict.REFUSED
    assert script.notes[-1].message == "no admin"


def test_a_delete_of_a_blank_id_is_an_error_at_once(dialect: Dialect) -> None:
    with pytest.raises(SpecError):
        Script([BUSY]).drive(delete_and_prove(dialect, GoneWait(" ", started=0.0, deadline=9.0, poll_interval=1.0)))


def test_all_clusters_of_exactly_one_name_are_found(dialect: Dialect) -> None:
    listed = [cluster_with("a", cluster_name="x"), cluster_with("b", cluster_name="x ", status="FAILED")]
    listed.append(cluster_with("c", cluster_name="x", status="Deleting"))
    assert [c.cluster_id for c in Script([listed]).drive(find_by_name(dialect, "x"))] == ["a", "c"]


# volumes


def volume_with(volume_id: str = "v-1", **fields: Any) -> SharedVolume:
    return SharedVolume.model_validate({"volume_id": volume_id, "volume_name": "data", "size_tib": 2, **fields})


def volumes(dialect: Dialect, answers: Sequence[Any], *, if_exists: IfExists = "adopt") -> tuple[Script, Any]:
    script = Script(answers)
    try:
        return script, script.drive(ensure_shared_volume(dialect, VOLUME_SPEC, if_exists=if_exists))
    except TogetherError as error:
        return script, error


def test_where_no_volume_is_one_is_made(dialect: Dialect) -> None:
    script, end = volumes(dialect, [[volume_with(volume_name="other")], volume_with("v-9")])
    assert (script.requests, end.volume_id) == (["GET", "POST"], "v-9")


@pytest.mark.parametrize("size", [2, 5, None])
def test_a_volume_that_is_large_enough_is_used(dialect: Dialect, size: int | None) -> None:
    script, end = volumes(dialect, [[volume_with(size_tib=size)]])
    assert (script.shape, end.volume_id) == (["GET", "Note"], "v-1")


def test_a_volume_that_is_too_small_is_told_with_the_remedy(dialect: Dialect) -> None:
    script, end = volumes(dialect, [[volume_with(size_tib=1)]])
    assert isinstance(end, SpecMismatchError)
    assert "has 1 TiB, not 2: grow it" in str(end)
    assert script.requests == ["GET"]


def test_a_volume_that_exists_is_refused_on_demand(dialect: Dialect) -> None:
    script, end = volumes(dialect, [[volume_with()]], if_exists="fail")
    assert isinstance(end, NameTakenError)
    assert script.requests == ["GET"]


@pytest.mark.parametrize("if_exists", ["adopt", "fail"])
def test_several_volumes_of_a_name_are_named_by_their_ids(dialect: Dialect, if_exists: IfExists) -> None:
    _, end = volumes(dialect, [[volume_with("v-1"), volume_with("v-2")]], if_exists=if_exists)
    assert isinstance(end, NameTakenError)
    assert "v-1, v-2" in str(end)


def test_after_a_lost_answer_the_volume_that_shows_up_is_used(dialect: Dialect) -> None:
    script, end = volumes(dialect, [[], LOST, [], BUSY, [volume_with("v-9")]])
    assert (script.requests.count("POST"), end.volume_id) == (1, "v-9")
    assert script.pauses == [1, 2, 4]


def test_a_lost_volume_without_effect_is_an_unknown_outcome(dialect: Dialect) -> None:
    script, end = volumes(dialect, [[], LOST, []])
    assert end is LOST
    assert (script.requests.count("POST"), sum(script.pauses)) == (1, VISIBILITY_SECONDS)


def test_a_refused_volume_is_an_error(dialect: Dialect) -> None:
    refusal = PermissionDeniedError("no", status=403)
    assert volumes(dialect, [[], refusal])[1] is refusal


def test_flows_only_ask_note_and_pause(dialect: Dialect) -> None:
    for script in (creating(dialect, [[], LOST, []])[0], volumes(dialect, [[], LOST, []])[0]):
        assert {type(step) for step in script.steps} <= {Call, Pause, Note, Intent, Created, Withdrawn}

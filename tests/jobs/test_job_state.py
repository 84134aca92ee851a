"""What a look at a job means, as a table: job, pods and time to a verdict."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_together.jobs.kubernetes.diagnosis import Word
from airflow_provider_together.jobs.kubernetes.state import JobState, JobVerdict, RankPhase, Terms, epoch, look_at
from tests.jobs.objects import condition, ended, event, job, pod, waiting

TERMS = Terms(start_by=100.0, end_by=1000.0)
FAILED = condition("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
COMPLETE = condition("Complete")
DEADLINE = condition("Failed", "DeadlineExceeded", "Job was active longer than specified deadline")
NEVER_PULLED = pod(0, phase="Pending", state=waiting("InvalidImageName"))
BACKING_OFF = pod(1, phase="Pending", state=waiting("ImagePullBackOff"))
BESIDE_RUNS = {"name": "a-proxy", "state": {"running": {}}}
BESIDE_ENDED = {"name": "a-proxy", "state": ended(0)}
OWN_WAITS = {"name": "train", "state": waiting("ImagePullBackOff")}
OWN_RUNS = {"name": "train", "state": {"running": {}}}
ENDED_WELL = [pod(rank, phase="Succeeded", state=ended(0)) for rank in (0, 1)]

CASES: list[tuple[str, Any, list[Any], float, JobVerdict]] = [
    ("no pods yet", job(), [], 10, JobVerdict.GO_ON),
    ("one of two runs", job(), [pod(0)], 10, JobVerdict.GO_ON),
    ("all run", job(), [pod(0), pod(1)], 10, JobVerdict.GO_ON),
    ("all run, after the time to start", job(), [pod(0), pod(1)], 100, JobVerdict.GO_ON),
    ("one has no pod when the time to start is over", job(), [pod(0)], 100, JobVerdict.NOT_STARTED),
    ("one waits when the time to start is over", job(), [pod(0), BACKING_OFF], 100, JobVerdict.NOT_STARTED),
    ("one waits beside a container that runs", job(), [pod(0, containerStatuses=[BESIDE_RUNS, OWN_WAITS]), pod(1)], 100,
     JobVerdict.NOT_STARTED),
    ("containers beside them have ended", job(),
     [pod(rank, containerStatuses=[BESIDE_ENDED, OWN_RUNS]) for rank in (0, 1)], 10, JobVerdict.GO_ON),
    ("one waits in vain", job(), [NEVER_PULLED, pod(1)], 10, JobVerdict.NOT_STARTED),
    ("one has ended, one runs", job(), [ENDED_WELL[0], pod(1)], 200, JobVerdict.GO_ON),
    ("all have ended, and Kubernetes does not know yet", job(), ENDED_WELL, 200, JobVerdict.SUCCEEDED),
    ("Kubernetes knows, and the pods are gone", job(conditions=(COMPLETE,)), [], 200, JobVerdict.SUCCEEDED),
    ("Kubernetes says that it is not complete", job(conditions=(condition("Complete", status="False"),)), [pod(0)], 10,
     JobVerdict.GO_ON),
    ("one has failed", job(), [pod(0), pod(1, phase="Failed", state=ended(1))], 10, JobVerdict.FAILED),
    ("a container has failed, its pod does not know", job(), [pod(0), pod(1, state=ended(1))], 10, JobVerdict.FAILED),
    ("the job has failed without a trace", job(conditions=(FAILED,)), [], 10, JobVerdict.FAILED),
    ("the job is about to fail", job(conditions=(condition("FailureTarget"),)), [], 10, JobVerdict.FAILED),
    ("Kubernetes' own deadline", job(conditions=(DEADLINE,)), [], 10, JobVerdict.TIMED_OUT),
    ("our deadline", job(), [pod(0), pod(1)], 1000, JobVerdict.TIMED_OUT),
    ("our deadline, and all is well", job(), ENDED_WELL, 1000, JobVerdict.SUCCEEDED),
    ("a pod is deleted", job(), [pod(0), pod(1, deleted="now")], 10, JobVerdict.FAILED),
    ("the job is deleted", job(metadata={"deletionTimestamp": "now"}), [], 10, JobVerdict.GONE),
    ("the job is deleted, and its pods with it", job(metadata={"deletionTimestamp": "now"}),
     [pod(0, deleted="now")], 10, JobVerdict.GONE),
    ("the job is deleted since a rank failed", job(metadata={"deletionTimestamp": "now"}),
     [pod(0, phase="Failed", state=ended(1)), pod(1, deleted="now")], 10, JobVerdict.FAILED),
    ("there is no job", None, [], 10, JobVerdict.GONE),
    ("a pod of an earlier job has failed", job(), [pod(0, uid="u0", phase="Failed"), pod(1)], 10, JobVerdict.GO_ON),
    ("a pod of no job", job(), [{"metadata": {"name": "x"}}, pod(0), pod(1)], 10, JobVerdict.GO_ON),
    ("a pod of no rank", job(), [pod(7), pod(0), pod(1)], 10, JobVerdict.GO_ON),
]  # fmt: skip


@pytest.mark.parametrize(
    ("seen", "pods", "now", "verdict"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_a_look_has_its_verdict(seen: Any, pods: list[Any], now: float, verdict: JobVerdict) -> None:
    assert look_at(seen, pods, now=now, terms=TERMS).verdict is verdict


def state_of(*pods: Any, seen: Any = None, now: float = 10.0, **options: Any) -> JobState:
    return look_at(job() if seen is None else seen, pods, now=now, terms=options.pop("terms", TERMS), **options)


def test_without_a_deadline_it_may_take_any_time() -> None:
    assert not state_of(pod(0), pod(1), now=1e12, terms=Terms(100.0)).is_over


def test_who_has_started_once_is_not_asked_to_start_again() -> None:
    assert state_of(pod(0), pod(1)).has_started
    assert not state_of(pod(0)).has_started
    assert not state_of(pod(0), now=100.0, has_started=True).is_over


def test_the_ranks_that_are_missing_are_named_with_the_reason() -> None:
    state = state_of(pod(0), BACKING_OFF, now=100.0)
    assert [rank.number for rank in state.missing] == [1]
    assert state.word is Word.IMAGE_PULL
    assert str(state.missing[0]) == "rank 1 on node-1 waits (image_pull: ImagePullBackOff)"


def test_events_tell_why_a_rank_is_missing() -> None:
    events = [event("train-1-abcde", "FailedMount", "no such volume")]
    state = state_of(pod(0), pod(1, phase="Pending"), now=100.0, events=events)
    assert state.word is Word.CONTAINER_CONFIG


def test_a_job_that_somebody_has_suspended_says_so() -> None:
    state = state_of(seen=job(spec={"suspend": True}), now=100.0)
    assert (state.verdict, state.reason) == (JobVerdict.NOT_STARTED, "it is suspended")
    assert state.word is Word.UNKNOWN


def test_the_rank_that_failed_first_is_the_culprit() -> None:
    late, early = ended(1, at="2026-01-01T00:00:12Z"), ended(1, at="2026-01-01T00:00:11Z")
    state = state_of(pod(0, phase="Failed", state=late), pod(1, phase="Failed", state=early))
    assert state.culprit is not None
    assert state.culprit.number == 1


def test_within_one_second_a_reason_of_kubernetes_goes_before_an_exit_code() -> None:
    state = state_of(
        pod(0, phase="Failed", state=ended(1)), pod(1, phase="Failed", state=ended(137, reason="OOMKilled"))
    )
    assert state.word is Word.OUT_OF_MEMORY


def test_within_one_second_the_first_rank_counts_where_nothing_else_does() -> None:
    state = state_of(pod(1, phase="Failed", state=ended(1)), pod(0, phase="Failed", state=ended(1)))
    assert state.culprit is not None
    assert state.culprit.number == 0


def test_a_rank_whose_init_container_failed_first_is_the_culprit() -> None:
    fetch = {"name": "fetch", "state": ended(4, at="2026-01-01T00:00:10Z")}
    early = pod(1, phase="Failed", state=waiting("PodInitializing"), initContainerStatuses=[fetch])
    state = state_of(pod(0, phase="Failed", state=ended(1, at="2026-01-01T00:00:11Z")), early)
    assert str(state.culprit) == "rank 1 on node-1 has failed (non_zero_exit, exit code 4 of init container 'fetch')"


def test_a_rank_that_kubernetes_stopped_since_another_failed_is_no_culprit() -> None:
    stopped = pod(0, phase="Failed", state=ended(143, at="2026-01-01T00:00:09Z"), deleted="now")
    state = state_of(stopped, pod(1, phase="Failed", state=ended(1)), seen=job(conditions=(FAILED,)))
    assert state.culprit is not None
    assert state.culprit.number == 1


def test_a_rank_that_is_being_stopped_since_another_failed_still_runs() -> None:
    stopping = pod(0, deleted="now")
    state = state_of(stopping, pod(1, phase="Failed", state=ended(1)), seen=job(conditions=(FAILED,)))
    assert state.ranks[0].phase is RankPhase.RUNNING


def test_a_rank_whose_node_is_lost_is_the_culprit_though_its_pod_still_seems_to_run() -> None:
    lost = pod(0, deleted="now", conditions=[condition("DisruptionTarget", "DeletionByTaintManager", "no heartbeat")])
    state = state_of(lost, pod(1), seen=job(conditions=(FAILED,)))
    assert state.culprit is not None
    assert str(state.culprit) == "rank 0 on node-0 has failed (node_lost: DeletionByTaintManager: no heartbeat)"


def test_a_pod_that_somebody_deletes_is_told_as_that() -> None:
    state = state_of(pod(0), pod(1, deleted="now"))
    assert state.culprit is not None
    assert str(state.culprit) == "rank 1 on node-1 has failed (unknown: its pod was deleted)"


def test_a_pod_that_ended_well_before_it_was_deleted_has_not_failed() -> None:
    assert not state_of(pod(0), pod(1, phase="Succeeded", state=ended(0), deleted="now")).is_over


def test_of_two_pods_of_a_rank_the_one_that_got_further_counts() -> None:
    waits, runs = pod(0, name="a", phase="Pending"), pod(0, name="b")
    for pods in ((waits, runs), (runs, waits)):
        assert state_of(*pods, pod(1)).ranks[0].pod == "b"


def test_the_result_of_a_rank_is_its_termination_message() -> None:
    state = state_of(pod(0, phase="Succeeded", state=ended(0, message="42")), pod(1))
    assert state.ranks[0].message == "42"


def test_a_sentence_tells_the_ranks_in_numbers_and_those_with_trouble_by_name() -> None:
    sentence = state_of(pod(0), BACKING_OFF, seen=job(nodes=3)).sentence()
    assert sentence == (
        "3 ranks: 1 missing, 1 waiting, 1 running; rank 1 on node-1 waits (image_pull: ImagePullBackOff)"
    )
    assert state_of(pod(0), seen=job(nodes=1)).sentence() == "1 rank: 1 running"


def test_kubernetes_words_of_a_job_forge_no_line() -> None:
    forged = condition("Failed", "Odd\x1b", "the job\nhas \x1b[2Jsucceeded")
    assert state_of(seen=job(conditions=(forged,))).reason == "Odd\ufffd: the job has \ufffd[2Jsucceeded"


def test_the_word_of_an_outcome_says_what_went_wrong() -> None:
    assert state_of(pod(0), pod(1)).word is None
    assert state_of(*ENDED_WELL).word is None
    assert state_of(pod(0), pod(1), now=1000.0).word is Word.DEADLINE
    assert state_of(seen=job(conditions=(FAILED,))).word is Word.UNKNOWN
    assert state_of(seen=job(conditions=(FAILED,))).reason.startswith("BackoffLimitExceeded: ")


def test_a_job_that_does_not_say_how_many_it_needs_needs_one() -> None:
    assert len(look_at({"metadata": {"uid": "u1"}}, [], now=0.0, terms=TERMS).ranks) == 1


@pytest.mark.parametrize(("text", "time"), [("1970-01-01T00:00:10Z", 10.0), ("soon", None), (None, None)])
def test_times_are_epoch_seconds(text: Any, time: float | None) -> None:
    assert epoch(text) == time

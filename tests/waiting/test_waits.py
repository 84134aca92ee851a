"""What one look means to somebody who waits. Time is a number here; nothing is sent and nobody sleeps."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_together.api.phase import Phase
from airflow_provider_together.api.wording import duration
from airflow_provider_together.exceptions import (
    AnswerLostError,
    AuthenticationError,
    ClusterFailedError,
    ClusterGoneError,
    MalformedAnswerError,
    NotFoundError,
    NotSentError,
    OutcomeUnknownError,
    PermanentError,
    PermissionDeniedError,
    RateLimitError,
    RequestRefusedError,
    ServerError,
    SpecError,
    TogetherError,
    WaitTimeoutError,
)
from airflow_provider_together.lifecycle.name import ClusterName, Owner
from airflow_provider_together.waiting.end_of_life import end_of_life_warning
from airflow_provider_together.waiting.failure import failure_of
from airflow_provider_together.waiting.gone import GoneWait
from airflow_provider_together.waiting.patience import (
    ABSENCE_SECONDS,
    LONGEST_ASKED,
    LONGEST_BACK_OFF,
    REFUSAL_SECONDS,
    Look,
)
from airflow_provider_together.waiting.ready import ReadyWait
from airflow_provider_together.waiting.verdict import Verdict
from tests.support.engine import FIXED, cluster_with

START = 1000.0
NOT_FOUND = NotFoundError("no such cluster", status=404)
FORBIDDEN = PermissionDeniedError("not allowed", status=403)
PASSING = [
    NotSentError("refused"),
    AnswerLostError("timed out"),
    MalformedAnswerError("<html>"),
    ServerError("503", status=503),
    RateLimitError("429"),
    OutcomeUnknownError("?"),
]


def ready_wait(**changes: Any) -> ReadyWait:
    return ReadyWait("c-1", **{"started": START, "deadline": START + 3600, "poll_interval": 15.0, **changes})


def gone_wait(**changes: Any) -> GoneWait:
    return GoneWait("c-1", **{"started": START, "deadline": START + 3600, "poll_interval": 15.0, **changes})


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        ("PENDING", Verdict.GO_ON),
        ("InstallingDrivers", Verdict.GO_ON),
        ("DEFROSTING", Verdict.GO_ON),
        ("", Verdict.GO_ON),
        ("Ready", Verdict.READY),
        ("Degraded", Verdict.GO_ON),
        ("OnDemandComputePaused", Verdict.FAILED),
        ("FAILED", Verdict.FAILED),
        ("Deleting", Verdict.GONE),
        ("Deleted", Verdict.GONE),
    ],
)
def test_a_status_decides_a_wait_for_ready(status: str, verdict: Verdict) -> None:
    look = ready_wait().on_cluster(cluster_with(status=status), now=START)
    assert (look.verdict, look.word, look.is_over) == (verdict, status, verdict is not Verdict.GO_ON)


@pytest.mark.parametrize("status", ["Ready", "Deleting", "FAILED", "Degraded", "Paused", "QUEUED", "DEFROSTING"])
def test_a_wait_for_the_end_goes_on_while_the_cluster_is_there(status: str) -> None:
    assert gone_wait().on_cluster(cluster_with(status=status), now=START).verdict is Verdict.GO_ON


def test_a_wait_for_the_end_is_over_with_the_word_deleted() -> None:
    assert gone_wait().on_cluster(cluster_with(status="Deleted"), now=START).verdict is Verdict.GONE


@pytest.mark.parametrize(
    ("reaction", "verdict"), [("wait", Verdict.GO_ON), ("ready", Verdict.READY), ("fail", Verdict.FAILED)]
)
def test_the_user_settles_what_degraded_and_paused_mean(reaction: Any, verdict: Verdict) -> None:
    wait = ready_wait(on_degraded=reaction, on_paused=reaction)
    assert wait.on_cluster(cluster_with(status="Degraded"), now=START).verdict is verdict
    assert wait.on_cluster(cluster_with(status="Paused"), now=START).verdict is verdict


def test_a_failure_is_told_by_the_word_that_says_why() -> None:
    transitions = [{"phase": "CLUSTER_PHASE_NCCL_TESTS_FAILED"}]
    cluster = cluster_with(status="RunningAcceptanceTests", phase_transitions=transitions)
    look = ready_wait().on_cluster(cluster, now=START)
    assert (look.verdict, look.word) == (Verdict.FAILED, "CLUSTER_PHASE_NCCL_TESTS_FAILED")


def test_after_a_change_a_ready_cluster_is_waited_for_until_its_gpus_are_there() -> None:
    wait = ready_wait(num_gpus=16)
    small, large = ([{"num_gpus": 8}] * count for count in (1, 2))
    assert wait.on_cluster(cluster_with(num_gpus=16, gpu_worker_nodes=small), now=START).verdict is Verdict.GO_ON
    assert wait.on_cluster(cluster_with(num_gpus=16, gpu_worker_nodes=large), now=START).verdict is Verdict.READY


def test_the_sight_of_a_cluster_is_judged_as_the_cluster() -> None:
    nodes = [{"num_gpus": 8}, {"num_gpus": 8}]
    failed = cluster_with(status="QUEUED", phase_transitions=[{"phase": "Ready"}, {"phase": "NCCL_TESTS_FAILED"}])
    for cluster in (cluster_with(num_gpus=8, gpu_worker_nodes=nodes), cluster_with(num_gpus=8), failed):
        looks = [ready_wait(num_gpus=16).on_cluster(one, now=START) for one in (cluster, cluster.sight())]
        assert looks[0] == looks[1]


def test_a_change_of_status_is_news_once_with_elapsed_time_and_outlook() -> None:
    wait = ready_wait()
    looks = [
        wait.on_cluster(cluster_with(status=s), now=START + n * 90) for n, s in enumerate(["QUEUED", "QUEUED", "X"])
    ]
    assert [look.news for look in looks] == [
        "Cluster c-1 is QUEUED after 0 s; waiting for 1 h 0 min more at the most",
        "",
        "Cluster c-1 is X (was QUEUED) after 3 min 0 s; waiting for 57 min 0 s more at the most",
    ]


def test_a_cluster_without_status_and_a_wait_without_end_are_said_to_be_so() -> None:
    wait = ready_wait(deadline=None)
    wait.on_cluster(cluster_with(status="X"), now=START)
    look = wait.on_cluster(cluster_with(status=""), now=START + 5)
    assert look.news == "Cluster c-1 is without status (was X) after 5 s; waiting without a deadline"


def test_the_deadline_ends_a_wait_and_shortens_the_last_delay() -> None:
    wait = ready_wait(deadline=START + 20)
    pending = cluster_with(status="QUEUED")
    assert wait.on_cluster(pending, now=START).delay == 15
    assert wait.on_cluster(pending, now=START + 15).delay == 5
    assert wait.on_cluster(pending, now=START + 20).verdict is Verdict.TIMED_OUT


def test_a_verdict_at_the_deadline_counts() -> None:
    assert ready_wait(deadline=START).on_cluster(cluster_with(), now=START + 1).verdict is Verdict.READY


@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
def test_a_passing_fault_never_ends_a_wait_without_a_deadline(error: TogetherError) -> None:
    wait, now = ready_wait(deadline=None), START
    for _ in range(500):
        look = wait.on_error(error, now=now)
        assert look.verdict is Verdict.GO_ON
        now += look.delay
    assert now > START + 500 * 15


@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
def test_the_deadline_ends_a_wait_whose_server_fails(error: TogetherError) -> None:
    assert ready_wait().on_error(error, now=START + 3600).verdict is Verdict.TIMED_OUT


def test_a_fault_is_news_once_and_makes_the_pace_slower_up_to_a_limit() -> None:
    wait = ready_wait()
    looks = [wait.on_error(ServerError("It failed.", status=500), now=START) for _ in range(5)]
    assert [look.delay for look in looks] == [15, 30, LONGEST_BACK_OFF, LONGEST_BACK_OFF, LONGEST_BACK_OFF]
    assert [look.news for look in looks] == ["It failed. The cluster is still waited for.", "", "", "", ""]


def test_a_good_look_brings_the_pace_back() -> None:
    wait = ready_wait()
    for _ in range(5):
        wait.on_error(ServerError("x", status=500), now=START)
    assert wait.on_cluster(cluster_with(status="QUEUED"), now=START).delay == 15
    assert wait.on_error(ServerError("x", status=500), now=START).delay == 15


def test_a_slow_poller_is_not_made_faster_by_faults() -> None:
    assert ready_wait(poll_interval=300.0).on_error(ServerError("x", status=500), now=START).delay == 300


@pytest.mark.parametrize(("asked", "delay"), [(None, 15), (5.0, 15), (120.0, 120), (1e9, LONGEST_ASKED)])
def test_a_server_that_asks_for_patience_gets_it_up_to_a_limit(asked: float | None, delay: float) -> None:
    wait = ready_wait(deadline=None)
    assert wait.on_error(RateLimitError("x", retry_after=asked), now=START).delay == delay


def test_one_404_is_no_end() -> None:
    wait = ready_wait()
    look = wait.on_error(NOT_FOUND, now=START + 5)
    assert (look.verdict, look.news) == (Verdict.GO_ON, "Cluster c-1 was not found after 5 s; looking again.")
    assert wait.is_absence_open
    assert wait.on_cluster(cluster_with(status="QUEUED"), now=START).verdict is Verdict.GO_ON
    assert not wait.is_absence_open


@pytest.mark.parametrize(("poll_interval", "settled"), [(1.0, 4.0), (15.0, ABSENCE_SECONDS), (600.0, ABSENCE_SECONDS)])
def test_a_lasting_404_is_the_end(poll_interval: float, settled: float) -> None:
    wait = ready_wait(poll_interval=poll_interval)
    wait.on_cluster(cluster_with(status="Ready?"), now=START)
    assert wait.on_error(NOT_FOUND, now=START).delay <= settled
    assert wait.on_error(NOT_FOUND, now=START + settled - 0.1).news == ""
    look = wait.on_error(NOT_FOUND, now=START + settled)
    assert look == Look(Verdict.GONE, word="Ready?", news="Cluster c-1 is gone.")


@pytest.mark.parametrize("between", [*PASSING, FORBIDDEN], ids=lambda error: type(error).__name__)
def test_an_absence_counts_only_while_nothing_else_happens(between: TogetherError) -> None:
    wait = ready_wait()
    wait.on_error(NOT_FOUND, now=START)
    wait.on_error(between, now=START + 20)
    assert wait.on_error(NOT_FOUND, now=START + 40).verdict is Verdict.GO_ON


@pytest.mark.parametrize(("poll_interval", "settled"), [(1.0, 20.0), (15.0, REFUSAL_SECONDS), (60.0, REFUSAL_SECONDS)])
def test_a_lasting_refusal_ends_a_wait(poll_interval: float, settled: float) -> None:
    wait = ready_wait(poll_interval=poll_interval)
    assert wait.on_error(FORBIDDEN, now=START).verdict is Verdict.GO_ON
    assert wait.on_error(FORBIDDEN, now=START + settled - 0.1).verdict is Verdict.GO_ON
    assert wait.on_error(FORBIDDEN, now=START + settled) == Look(
        Verdict.REFUSED, news="not allowed", error="not allowed"
    )


@pytest.mark.parametrize("between", PASSING, ids=lambda error: type(error).__name__)
def test_a_refusal_that_is_taken_back_is_forgotten(between: TogetherError) -> None:
    wait = ready_wait()
    wait.on_error(FORBIDDEN, now=START)
    wait.on_error(between, now=START + 200)
    assert wait.on_error(FORBIDDEN, now=START + 301).verdict is Verdict.GO_ON


def test_a_wait_goes_on_in_another_process() -> None:
    first, second = ready_wait(), ready_wait()
    first.on_cluster(cluster_with(status="QUEUED"), now=START)
    first.on_error(FORBIDDEN, now=START)
    second.recall(json.loads(json.dumps(first.memory())))
    assert second.on_error(FORBIDDEN, now=START + 300) == Look(
        Verdict.REFUSED, word="QUEUED", news="not allowed", error="not allowed"
    )


def test_a_wait_that_goes_on_does_not_repeat_its_news() -> None:
    first, second = ready_wait(), ready_wait()
    first.on_cluster(cluster_with(status="QUEUED"), now=START)
    second.recall(first.memory())
    assert second.on_cluster(cluster_with(status="QUEUED"), now=START + 15).news == ""


def test_no_memory_is_a_new_wait() -> None:
    wait = ready_wait()
    wait.recall({})
    assert wait.memory() == {"started": START, "word": "", "refused_since": 0.0, "is_end_told": False}


def named_until(seconds: float) -> str:
    owner = Owner("airflow", "train", "run", "create")
    return str(ClusterName.of(owner, now=datetime.fromtimestamp(START, UTC), lifetime=timedelta(seconds=seconds)))


def test_who_uses_a_cluster_is_told_as_who_waits_for_it() -> None:
    cluster = cluster_with(cluster_name=named_until(1800))
    assert end_of_life_warning(cluster, now=START) in ready_wait().on_cluster(cluster, now=START).news
    assert end_of_life_warning(cluster_with(cluster_name="mine"), now=START) == ""


def test_a_wait_says_once_that_the_end_of_life_is_near() -> None:
    wait = ready_wait()
    cluster = cluster_with(status="QUEUED", cluster_name=named_until(1800))
    assert "The life of cluster c-1 ends in 30 min" in wait.on_cluster(cluster, now=START).news
    assert wait.on_cluster(cluster, now=START + 15).news == ""
    again = ready_wait()
    again.recall(wait.memory())
    assert again.on_cluster(cluster, now=START + 30).news == ""


def test_a_wait_says_that_the_end_of_life_has_passed_even_when_it_ends() -> None:
    look = ready_wait().on_cluster(cluster_with(cluster_name=named_until(1800)), now=START + 3620)
    assert look.verdict is Verdict.READY
    assert "ended 30 min 0 s ago" in look.news


@pytest.mark.parametrize("name", [named_until(100_000), "af-airflow-train-aaaaaaaaaaaa-open", "train"])
def test_a_wait_says_nothing_of_an_end_that_is_far_or_not_there(name: str) -> None:
    assert "life" not in ready_wait().on_cluster(cluster_with(status="QUEUED", cluster_name=name), now=START).news


def test_a_wait_for_the_end_says_nothing_of_the_end_of_life() -> None:
    cluster = cluster_with(status="Deleting", cluster_name=named_until(60))
    assert "life" not in gone_wait().on_cluster(cluster, now=START).news


def test_the_passing_of_time_alone_ends_a_wait_and_is_told_beforehand() -> None:
    wait = ready_wait(deadline=START + 20)
    assert wait.alarm == START + 20
    assert wait.on_time(now=START + 19.5) == Look(Verdict.GO_ON, delay=0.5)
    assert wait.on_time(now=START + 20).verdict is Verdict.TIMED_OUT
    assert ready_wait(deadline=None).alarm == math.inf


def test_the_passing_of_time_alone_brings_the_end_of_life_near_once() -> None:
    wait = ready_wait(deadline=None)
    name = named_until(2 * 3600)
    wait.on_cluster(cluster_with(status="QUEUED", cluster_name=name), now=START)
    parsed = ClusterName.parse(name)
    assert parsed is not None
    assert parsed.end_of_life is not None
    assert wait.alarm == parsed.end_of_life.timestamp() - 3600
    assert wait.on_time(now=wait.alarm - 1).news == ""
    assert "The life of cluster c-1 ends" in wait.on_time(now=wait.alarm).news
    assert (wait.alarm, wait.on_time(now=START + 4000).news) == (math.inf, "")


def test_a_cluster_that_lives_on_for_two_intervals_is_unheard_by_looks_or_by_time() -> None:
    for is_looked_at in (True, False):
        wait = gone_wait()
        live = cluster_with(status="Ready")
        assert not wait.on_cluster(live, now=START).is_unheard
        assert wait.alarm == START + 30
        again = [
            wait.on_cluster(live, now=START + s) if is_looked_at else wait.on_time(now=START + s) for s in (29, 30)
        ]
        assert [look.is_unheard for look in again] == [False, True]
        assert wait.alarm == START + 60


@pytest.mark.parametrize("seen", [cluster_with(status="Deleting"), NOT_FOUND])
def test_a_cluster_that_begins_to_go_was_heard(seen: Any) -> None:
    wait = gone_wait()
    wait.on_cluster(cluster_with(status="Ready"), now=START)
    if isinstance(seen, TogetherError):
        wait.on_error(seen, now=START + 15)
    else:
        wait.on_cluster(seen, now=START + 15)
    assert not wait.on_time(now=START + 30).is_unheard
    assert wait.alarm == START + 3600


def test_a_list_that_lags_makes_a_wait_for_the_end_go_on() -> None:
    wait = gone_wait(deadline=START + 20)
    assert wait.on_listed(now=START) == Look(Verdict.GO_ON, delay=15)
    assert wait.on_listed(now=START + 20).verdict is Verdict.TIMED_OUT


@pytest.mark.parametrize(
    ("verdict", "kind"),
    [
        (Verdict.FAILED, ClusterFailedError),
        (Verdict.GONE, ClusterGoneError),
        (Verdict.REFUSED, PermanentError),
        (Verdict.TIMED_OUT, WaitTimeoutError),
    ],
)
def test_a_bad_end_is_an_error_with_cluster_word_and_fate(verdict: Verdict, kind: type[TogetherError]) -> None:
    error = failure_of("c-1", verdict, "Paused", fate="It was deleted.")
    assert type(error) is kind
    assert "c-1" in str(error)
    assert str(error).endswith("(status Paused). It was deleted.")


def test_a_bad_end_without_a_word_and_fate_is_told_without_them() -> None:
    assert str(failure_of("c-1", Verdict.TIMED_OUT, "")) == "The time for cluster c-1 is over."


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 s"),
        (0.4, "0 s"),
        (45, "45 s"),
        (59.6, "1 min 0 s"),
        (750, "12 min 30 s"),
        (11100, "3 h 5 min"),
        (90061, "25 h 1 min"),
    ],
)
def test_a_duration_reads_like_speech(seconds: float, text: str) -> None:
    assert duration(seconds) == text


statuses = st.sampled_from(["QUEUED", "Ready", "Degraded", "Paused", "FAILED", "Deleting", "Deleted", "", "NEW"])
errors = st.sampled_from(
    [NOT_FOUND, FORBIDDEN, AuthenticationError("x", status=401), RequestRefusedError("x", status=400)]
)
passing = st.sampled_from(PASSING) | st.floats(0, 1e12).map(lambda asked: RateLimitError("x", retry_after=asked))
happenings = st.lists(statuses | errors | passing, max_size=60)


def _verdict_is_due(wait: ReadyWait | GoneWait, history: list[Any], verdict: Verdict) -> bool:
    """Whether what was seen last can bear the verdict at all."""
    seen = history[-1]
    if isinstance(seen, str):
        phase = cluster_with(status=seen).phase
        if isinstance(wait, GoneWait):
            return (phase, verdict) == (Phase.GONE, Verdict.GONE)
        return {
            Verdict.READY: phase is Phase.READY,
            Verdict.FAILED: phase in {Phase.FAILED, Phase.PAUSED},
            Verdict.GONE: phase in {Phase.DELETING, Phase.GONE},
        }.get(verdict, False)
    if verdict is Verdict.GONE:
        return history[-2:] == [NOT_FOUND, NOT_FOUND]
    refusals = [one for one in history if one is not NOT_FOUND]
    return verdict is Verdict.REFUSED and all(isinstance(one, PermanentError) for one in refusals[-2:])


@FIXED
@given(st.booleans(), happenings, st.floats(0.5, 1000.0), st.none() | st.floats(0.0, 100_000.0), st.floats(1.0, 3.0))
def test_only_a_verdict_or_the_deadline_ends_any_wait(
    is_for_ready: bool,
    seen: list[Any],
    poll_interval: float,
    limit: float | None,
    lateness: float,
) -> None:
    deadline = None if limit is None else START + limit
    make = ready_wait if is_for_ready else gone_wait
    wait, now, history = make(deadline=deadline, poll_interval=poll_interval), START, list[Any]()
    for one in seen:
        history.append(one)
        look = (
            wait.on_cluster(cluster_with(status=one), now=now) if isinstance(one, str) else wait.on_error(one, now=now)
        )
        if look.verdict is Verdict.TIMED_OUT:
            assert deadline is not None
            assert now >= deadline
            return
        if look.is_over:
            assert _verdict_is_due(wait, history, look.verdict)
            return
        assert 0 < look.delay <= max(poll_interval, LONGEST_BACK_OFF, LONGEST_ASKED)
        assert deadline is None or now + look.delay <= deadline + 1e-6
        now += look.delay * lateness


@pytest.mark.parametrize("name", ["on_degraded", "on_paused"])
def test_a_reaction_that_does_not_exist_is_told(name: str) -> None:
    with pytest.raises(SpecError, match=f"{name}='hope' is wrong: use one of 'wait', 'ready', 'fail'"):
        ready_wait(**{name: "hope"})


BUSY_ANSWERS = [RequestRefusedError(f"it answered {status}: busy", status=status) for status in (400, 402, 409, 423)]


@pytest.mark.parametrize("busy", BUSY_ANSWERS, ids=lambda error: str(error.status))
def test_one_that_is_busy_is_waited_out_until_the_deadline_and_its_words_are_kept(busy: RequestRefusedError) -> None:
    wait = GoneWait("c-1", started=START, deadline=START + 1800, poll_interval=10.0)
    looks = [wait.on_error(busy, now=START + seconds) for seconds in range(0, 1800, 60)]
    assert {look.verdict for look in looks} == {Verdict.GO_ON}
    end = wait.on_error(busy, now=START + 1800)
    assert (end.verdict, end.error) == (Verdict.TIMED_OUT, str(busy))
    told = str(failure_of("c-1", end.verdict, "Ready", fate="It is still there.", error=end.error))
    assert told == f"The time for cluster c-1 is over (status Ready). It is still there. {busy}"


def test_words_that_change_are_told_again_and_the_same_ones_are_not() -> None:
    first, second = BUSY_ANSWERS[0], BUSY_ANSWERS[1]
    wait = ready_wait()
    news = [wait.on_error(error, now=START).news for error in (first, first, second, second, first)]
    assert [bool(each) for each in news] == [True, False, True, False, True]


def test_what_was_answered_before_a_cluster_was_seen_is_no_cause_of_a_timeout() -> None:
    wait = ready_wait(deadline=START + 100)
    wait.on_error(BUSY_ANSWERS[0], now=START)
    assert wait.on_cluster(cluster_with(status="QUEUED"), now=START + 100).error == ""


def test_a_deletion_that_was_refused_is_the_cause_of_a_timeout_while_the_cluster_is_seen() -> None:
    wait = GoneWait("c-1", started=START, deadline=START + 100, poll_interval=10.0)
    wait.refuse(BUSY_ANSWERS[0])
    assert wait.on_cluster(cluster_with(), now=START + 100).error == str(BUSY_ANSWERS[0])
    wait.accept()
    assert wait.on_cluster(cluster_with(), now=START + 100).error == ""


def test_a_wait_tells_the_trigger_that_goes_on_with_it_all_it_goes_by() -> None:
    times = {"started": 1.0, "deadline": 2.0, "poll_interval": 3.0}
    row = {"cluster_id": "c-1", "started": 1.0, "end_time": 2.0, "poll_interval": 3.0}
    ready = ReadyWait("c-1", **times, on_degraded="fail", on_paused="wait", num_gpus=16)
    assert ready.settings() == {**row, "on_degraded": "fail", "on_paused": "wait", "num_gpus": 16}
    assert GoneWait("c-1", **times).settings() == {**row, "wait_for": "gone"}

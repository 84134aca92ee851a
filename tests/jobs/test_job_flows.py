"""Starting, watching and removing a job, request by request."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_together.exceptions import (
    AnswerLostError,
    NameTakenError,
    RateLimitError,
    RequestRefusedError,
    ServerError,
    SpecError,
    WaitTimeoutError,
)
from airflow_provider_together.jobs.kubernetes import flows as job_flows
from airflow_provider_together.jobs.kubernetes.diagnosis import Diagnosis, Word
from airflow_provider_together.jobs.kubernetes.flows import (
    JobWatch,
    LogLines,
    Started,
    ensure_claim,
    failure_sentence,
    is_cut,
    last_words_of,
    mark_taken,
    read_tail,
    remove_job,
    start_job,
    watch_job,
)
from airflow_provider_together.jobs.kubernetes.manifests import SPEC_ANNOTATION, TAKEN_ANNOTATION, job_manifest
from airflow_provider_together.jobs.kubernetes.spec import JobSpec
from airflow_provider_together.jobs.kubernetes.state import JobState, JobVerdict, Rank, RankPhase, Terms
from tests.jobs.driving import Kubernetes
from tests.jobs.objects import condition, ended, event, node, pod, waiting

SPEC = JobSpec(name="train", owner="abc", image="train:1", num_nodes=2, gpus_per_node=8)
JOBS, SERVICES = "/apis/batch/v1/namespaces/default/jobs", "/api/v1/namespaces/default/services"
VOLUMES, CLAIMS = "/api/v1/persistentvolumes", "/api/v1/namespaces/default/persistentvolumeclaims"
NODES = "GET /api/v1/nodes"
FAILED = condition("Failed", "BackoffLimitExceeded")


@pytest.fixture
def kubernetes() -> Kubernetes:
    return Kubernetes()


def started_before(kubernetes: Kubernetes, **changes: Any) -> dict[str, Any]:
    """Let an earlier try have started the job."""
    job = kubernetes.add(JOBS, job_manifest(replace(SPEC, **changes), asked_at=900.0))
    job["spec"]["suspend"] = False
    kubernetes.pods = [pod(rank, uid=job["metadata"]["uid"]) for rank in (0, 1)]
    return job


def job_there(kubernetes: Kubernetes) -> dict[str, Any]:
    return kubernetes.objects[f"{JOBS}/train"]


class TestStart:
    def test_a_job_is_looked_for_made_given_its_service_and_let_run(self, kubernetes: Kubernetes) -> None:
        started = kubernetes.run(start_job(SPEC))
        assert kubernetes.calls == ["GET jobs/train", NODES, "POST jobs", "POST services", "PATCH jobs/train"]
        assert started == Started("train", "default", "u1", 1000.0)
        assert job_there(kubernetes)["spec"]["suspend"] is False
        assert kubernetes.told[-1] == "Job train is made: 2 ranks of 8 GPUs."

    def test_a_job_of_an_earlier_try_that_runs_is_adopted(self, kubernetes: Kubernetes) -> None:
        started_before(kubernetes)
        started = kubernetes.run(start_job(SPEC))
        assert kubernetes.calls == ["GET jobs/train", "GET pods"]
        assert started == Started("train", "default", "u1", 900.0, is_adopted=True)

    def test_a_job_that_was_left_suspended_gets_the_rest(self, kubernetes: Kubernetes) -> None:
        kubernetes.add(JOBS, job_manifest(SPEC, asked_at=900.0))
        started = kubernetes.run(start_job(SPEC))
        assert kubernetes.calls[-2:] == ["POST services", "PATCH jobs/train"]
        assert job_there(kubernetes)["spec"]["suspend"] is False
        # Its time to start begins with it, also for a later try.
        assert started.asked_at == kubernetes.run(start_job(SPEC)).asked_at == 1000.0

    def test_a_success_that_nobody_has_taken_is_taken(self, kubernetes: Kubernetes) -> None:
        job = started_before(kubernetes)
        job["status"] = {"conditions": [condition("Complete")]}
        assert kubernetes.run(start_job(SPEC)).is_adopted

    def test_an_outcome_that_was_taken_is_not_taken_again(self, kubernetes: Kubernetes) -> None:
        started_before(kubernetes)["status"] = {"conditions": [condition("Complete")]}
        kubernetes.run(mark_taken("default", "train"))
        started = kubernetes.run(start_job(SPEC))
        assert not started.is_adopted
        assert TAKEN_ANNOTATION not in job_there(kubernetes)["metadata"]["annotations"]

    def test_a_failure_of_a_try_that_was_lost_is_told_and_the_job_made_anew(self, kubernetes: Kubernetes) -> None:
        job = started_before(kubernetes)
        kubernetes.pods[1] = pod(1, uid=job["metadata"]["uid"], phase="Failed", state=ended(3))
        assert not kubernetes.run(start_job(SPEC)).is_adopted
        assert any("rank 1 on node-1 has failed (non_zero_exit, exit code 3)" in told for told in kubernetes.told)

    def test_the_last_words_of_a_try_that_was_lost_are_told_before_its_log_goes(self, kubernetes: Kubernetes) -> None:
        job = started_before(kubernetes)
        kubernetes.pods[1] = pod(1, uid=job["metadata"]["uid"], phase="Failed", state=ended(3))
        kubernetes.logs["train-1-abcde"] = "2026-01-01T00:00:01Z no more data\n"
        kubernetes.run(start_job(SPEC))
        assert "The log of rank 1 ends with:\n  | no more data" in kubernetes.told

    def test_a_failure_without_a_trace_is_told_by_the_jobs_reason(self, kubernetes: Kubernetes) -> None:
        started_before(kubernetes)["status"] = {"conditions": [FAILED]}
        kubernetes.pods = []
        kubernetes.run(start_job(SPEC))
        assert any("has failed (BackoffLimitExceeded)" in told for told in kubernetes.told)

    def test_a_job_that_is_being_deleted_is_waited_for(self, kubernetes: Kubernetes) -> None:
        started_before(kubernetes)["metadata"]["deletionTimestamp"] = "now"
        kubernetes.removal_looks = 3
        started = kubernetes.run(start_job(SPEC))
        assert (started.is_adopted, started.uid) == (False, "u2")

    def test_a_job_of_other_parameters_goes_on_and_that_is_told(self, kubernetes: Kubernetes) -> None:
        started_before(kubernetes, image="train:0")
        assert kubernetes.run(start_job(SPEC)).is_adopted
        assert any("made from other parameters" in told for told in kubernetes.told)

    def test_a_job_of_the_same_parameters_is_adopted_without_that_word(self, kubernetes: Kubernetes) -> None:
        started_before(kubernetes)
        kubernetes.run(start_job(SPEC))
        assert not any("other parameters" in told for told in kubernetes.told)

    def test_a_job_of_somebody_else_is_left_alone(self, kubernetes: Kubernetes) -> None:
        started_before(kubernetes, owner="xyz")
        with pytest.raises(NameTakenError, match="'train' exists"):
            kubernetes.run(start_job(SPEC))
        assert kubernetes.calls == ["GET jobs/train"]

    def test_a_conflict_means_to_look_again(self, kubernetes: Kubernetes) -> None:
        kubernetes.fail("POST jobs", 409)
        kubernetes.run(start_job(SPEC))
        assert [call for call in kubernetes.calls if call != NODES][:4] == [
            "GET jobs/train",
            "POST jobs",
            "GET jobs/train",
            "POST jobs",
        ]

    def test_a_refusal_ends_it(self, kubernetes: Kubernetes) -> None:
        kubernetes.fail("POST jobs", 422)
        with pytest.raises(RequestRefusedError, match="as the test wants"):
            kubernetes.run(start_job(SPEC))

    def test_conflicts_without_end_end_it(self, kubernetes: Kubernetes) -> None:
        kubernetes.fail("POST jobs", *[409] * 100)
        with pytest.raises(WaitTimeoutError):
            kubernetes.run(start_job(SPEC))

    def test_a_job_without_our_time_counts_from_now(self, kubernetes: Kubernetes) -> None:
        started_before(kubernetes)["metadata"]["annotations"] = {SPEC_ANNOTATION: "?"}
        assert kubernetes.run(start_job(SPEC)).asked_at == kubernetes.now


class TestNodes:
    def test_a_job_that_asks_more_of_its_nodes_than_they_have_is_refused_before_it_is_made(
        self, kubernetes: Kubernetes
    ) -> None:
        kubernetes.nodes = [node("a", 8), node("b", 4)]
        with pytest.raises(SpecError, match="gpus_per_node=8 is too many: node b has 4"):
            kubernetes.run(start_job(SPEC))
        assert kubernetes.calls == ["GET jobs/train", NODES]

    def test_a_job_that_is_there_is_adopted_whatever_the_nodes_have(self, kubernetes: Kubernetes) -> None:
        started_before(kubernetes)
        kubernetes.nodes = [node("a", 8), node("b", 4)]
        assert kubernetes.run(start_job(SPEC)).is_adopted

    @pytest.mark.parametrize("fault", [403, 503])
    def test_where_the_nodes_cannot_be_read_it_is_made_unchecked(self, kubernetes: Kubernetes, fault: int) -> None:
        kubernetes.nodes = [node("a", 8), node("b", 4)]
        kubernetes.fail(NODES, fault)
        assert not kubernetes.run(start_job(SPEC)).is_adopted
        assert any("Whether the nodes have 8 GPUs is not checked." in told for told in kubernetes.told)

    def test_where_nodes_are_still_without_gpus_that_is_told(self, kubernetes: Kubernetes) -> None:
        kubernetes.nodes = [node("a", 8), node("b", 0)]
        kubernetes.run(start_job(SPEC))
        assert any("2 nodes with 8 GPUs, of which 1 can be seen by now" in told for told in kubernetes.told)

    def test_a_job_without_gpus_asks_for_no_nodes(self, kubernetes: Kubernetes) -> None:
        kubernetes.run(start_job(replace(SPEC, gpus_per_node=0)))
        assert NODES not in kubernetes.calls

    def test_what_a_template_makes_of_the_pod_counts(self, kubernetes: Kubernetes) -> None:
        kubernetes.nodes = [node("a", 8), node("b", 4, disk="big")]
        template = {"nodeSelector": {"disk": "big"}}
        with pytest.raises(SpecError, match="node b has 4"):
            kubernetes.run(start_job(replace(SPEC, num_nodes=1, pod_template=template)))
        container = {"name": "train", "resources": {"limits": {"nvidia.com/gpu": 4}}}
        assert kubernetes.run(start_job(replace(SPEC, pod_template={"containers": [container]})))


class TestService:
    def test_its_own_from_an_earlier_request_is_good(self, kubernetes: Kubernetes) -> None:
        kubernetes.add(JOBS, job_manifest(SPEC, asked_at=900.0))
        owned = {"metadata": {"name": "train", "ownerReferences": [{"uid": "u1"}]}}
        kubernetes.add(SERVICES, owned)
        kubernetes.run(start_job(SPEC))
        assert "DELETE services/train" not in kubernetes.calls

    def test_that_of_an_earlier_job_is_deleted(self, kubernetes: Kubernetes) -> None:
        kubernetes.add(SERVICES, {"metadata": {"name": "train", "ownerReferences": [{"uid": "u0"}]}})
        kubernetes.run(start_job(SPEC))
        (owner,) = kubernetes.objects[f"{SERVICES}/train"]["metadata"]["ownerReferences"]
        assert owner["uid"] == job_there(kubernetes)["metadata"]["uid"]

    def test_that_of_somebody_else_is_left_alone(self, kubernetes: Kubernetes) -> None:
        kubernetes.add(SERVICES, {"metadata": {"name": "train"}})
        with pytest.raises(NameTakenError, match="Service 'train'"):
            kubernetes.run(start_job(SPEC))
        assert f"{SERVICES}/train" in kubernetes.objects

    @pytest.mark.parametrize("call", ["GET services", "DELETE services"])
    def test_one_that_goes_meanwhile_is_made(self, kubernetes: Kubernetes, call: str) -> None:
        kubernetes.add(SERVICES, {"metadata": {"name": "train", "ownerReferences": [{"uid": "u0"}]}})
        kubernetes.fail(call, 404)
        kubernetes.run(start_job(SPEC))
        assert job_there(kubernetes)["spec"]["suspend"] is False

    def test_a_refusal_leaves_the_job_suspended(self, kubernetes: Kubernetes) -> None:
        kubernetes.fail("POST services", 403)
        with pytest.raises(RequestRefusedError):
            kubernetes.run(start_job(SPEC))
        assert job_there(kubernetes)["spec"]["suspend"] is True

    def test_one_that_does_not_go_ends_it(self, kubernetes: Kubernetes) -> None:
        kubernetes.add(SERVICES, {"metadata": {"name": "train", "ownerReferences": [{"uid": "u0"}]}})
        kubernetes.fail("POST services", *[409] * 100)
        kubernetes.fail("DELETE services", *[404] * 100)
        with pytest.raises(WaitTimeoutError, match="does not go"):
            kubernetes.run(start_job(SPEC))


class TestClaim:
    def test_it_is_as_large_as_its_volume(self, kubernetes: Kubernetes) -> None:
        kubernetes.add(VOLUMES, {"metadata": {"name": "data"}, "spec": {"capacity": {"storage": "3Ti"}}})
        kubernetes.run(ensure_claim("data", namespace="default", size_tib=1))
        claim = kubernetes.objects[f"{CLAIMS}/data"]
        assert claim["spec"]["resources"]["requests"] == {"storage": "3Ti"}

    @pytest.mark.parametrize(("size", "storage"), [(2, "2Ti"), (None, "1Ti")])
    def test_where_the_volume_tells_no_size_togethers_counts(
        self, kubernetes: Kubernetes, size: int | None, storage: str
    ) -> None:
        kubernetes.add(VOLUMES, {"metadata": {"name": "data"}})
        kubernetes.run(ensure_claim("data", namespace="default", size_tib=size))
        claim = kubernetes.objects[f"{CLAIMS}/data"]
        assert claim["spec"]["resources"]["requests"] == {"storage": storage}

    @pytest.mark.parametrize(
        ("spec", "storage_class"),
        [({"storageClassName": "shared-wekafs"}, "shared-wekafs"), ({"storageClassName": "fast"}, "fast"), ({}, "")],
    )
    def test_it_asks_for_the_class_of_its_volume(
        self, kubernetes: Kubernetes, spec: dict[str, str], storage_class: str
    ) -> None:
        kubernetes.add(VOLUMES, {"metadata": {"name": "data"}, "spec": spec})
        kubernetes.run(ensure_claim("data", namespace="default", size_tib=1))
        assert kubernetes.objects[f"{CLAIMS}/data"]["spec"]["storageClassName"] == storage_class

    def test_one_that_is_there_is_used(self, kubernetes: Kubernetes) -> None:
        kubernetes.add(VOLUMES, {"metadata": {"name": "data"}})
        kubernetes.add(CLAIMS, {"metadata": {"name": "data"}})
        kubernetes.run(ensure_claim("data", namespace="default", size_tib=1))

    def test_a_volume_that_is_not_there_is_named(self, kubernetes: Kubernetes) -> None:
        with pytest.raises(SpecError, match="shared_volume='data' is wrong"):
            kubernetes.run(ensure_claim("data", namespace="default", size_tib=1))

    def test_a_refusal_ends_it(self, kubernetes: Kubernetes) -> None:
        kubernetes.add(VOLUMES, {"metadata": {"name": "data"}})
        kubernetes.fail("POST persistentvolumeclaims", 403)
        with pytest.raises(RequestRefusedError):
            kubernetes.run(ensure_claim("data", namespace="default", size_tib=1))


class TestRemoval:
    def test_it_ends_when_the_job_is_gone(self, kubernetes: Kubernetes) -> None:
        started_before(kubernetes)
        kubernetes.removal_looks = 5
        kubernetes.run(remove_job("default", "train"))
        assert kubernetes.objects == {}

    def test_one_that_is_gone_is_a_success(self, kubernetes: Kubernetes) -> None:
        kubernetes.run(remove_job("default", "train"))

    def test_one_that_has_its_name_meanwhile_is_left_alone(self, kubernetes: Kubernetes) -> None:
        started_before(kubernetes)
        kubernetes.run(remove_job("default", "train", uid="u0"))
        assert "deletionTimestamp" not in job_there(kubernetes)["metadata"]

    def test_a_conflict_that_passes_is_waited_out(self, kubernetes: Kubernetes) -> None:
        started_before(kubernetes)
        kubernetes.fail("DELETE jobs", 409, 409)
        kubernetes.run(remove_job("default", "train", uid="u1"))
        assert kubernetes.objects == {}
        assert kubernetes.calls.count("DELETE jobs/train") == 3

    def test_a_conflict_without_end_is_told(self, kubernetes: Kubernetes) -> None:
        started_before(kubernetes)
        kubernetes.fail("DELETE jobs", *[409] * 1000)
        with pytest.raises(WaitTimeoutError, match="still there"):
            kubernetes.run(remove_job("default", "train", uid="u1"))

    def test_one_that_gets_its_name_while_it_goes_is_not_waited_for(self, kubernetes: Kubernetes) -> None:
        started_before(kubernetes)
        kubernetes.removal_looks = 100
        kubernetes.at[1003.0] = lambda: job_there(kubernetes)["metadata"].update(uid="u9")
        kubernetes.run(remove_job("default", "train", uid="u1"))
        assert kubernetes.now < 1010.0

    def test_one_that_does_not_go_is_told(self, kubernetes: Kubernetes) -> None:
        started_before(kubernetes)
        kubernetes.removal_looks = 10_000
        with pytest.raises(WaitTimeoutError, match="still there"):
            kubernetes.run(remove_job("default", "train"))

    def test_a_refusal_is_told(self, kubernetes: Kubernetes) -> None:
        started_before(kubernetes)
        kubernetes.fail("DELETE jobs", 403)
        with pytest.raises(RequestRefusedError):
            kubernetes.run(remove_job("default", "train"))

    def test_marking_one_that_is_gone_is_a_success(self, kubernetes: Kubernetes) -> None:
        kubernetes.run(mark_taken("default", "train"))


def watch(**changes: Any) -> JobWatch:
    return JobWatch(**{"namespace": "default", "name": "train", "terms": Terms(1600.0, 5000.0), **changes})


def lines_of(kubernetes: Kubernetes) -> list[tuple[int, str]]:
    return [(note.rank, line) for note in kubernetes.notes if isinstance(note, LogLines) for line in note.lines]


class TestWatch:
    def test_it_goes_on_until_all_have_ended(self, kubernetes: Kubernetes) -> None:
        uid = started_before(kubernetes)["metadata"]["uid"]
        done = [pod(rank, uid=uid, phase="Succeeded", state=ended(0)) for rank in (0, 1)]
        kubernetes.at[1012.0] = lambda: setattr(kubernetes, "pods", done)
        state = kubernetes.run(watch_job(watch(poll_interval=5.0)))
        assert state.verdict is JobVerdict.SUCCEEDED
        assert kubernetes.now == 1015.0
        assert kubernetes.calls == ["GET jobs/train", "GET pods"] * 4

    def test_what_the_ranks_do_is_told_when_it_changes(self, kubernetes: Kubernetes) -> None:
        uid = started_before(kubernetes)["metadata"]["uid"]
        done = [pod(rank, uid=uid, phase="Succeeded", state=ended(0)) for rank in (0, 1)]
        kubernetes.at[1030.0] = lambda: setattr(kubernetes, "pods", done)
        kubernetes.run(watch_job(watch()))
        assert kubernetes.told == ["Job train: 2 ranks: 2 running.", "Job train: 2 ranks: 2 succeeded."]

    @pytest.mark.parametrize(
        "fault", [409, 423, 429, 500, 503, AnswerLostError("lost"), ServerError("busy", status=503, retry_after=1.0)]
    )
    @pytest.mark.parametrize("call", ["GET jobs", "GET pods"])
    def test_no_fault_ends_it(self, kubernetes: Kubernetes, call: str, fault: Any) -> None:
        uid = started_before(kubernetes)["metadata"]["uid"]
        done = [pod(rank, uid=uid, phase="Succeeded", state=ended(0)) for rank in (0, 1)]
        kubernetes.at[2000.0] = lambda: setattr(kubernetes, "pods", done)
        kubernetes.fail(call, *[fault] * 100)
        assert kubernetes.run(watch_job(watch())).verdict is JobVerdict.SUCCEEDED

    def test_a_server_that_asks_for_time_gets_it(self, kubernetes: Kubernetes) -> None:
        started_before(kubernetes)["status"] = {"conditions": [condition("Complete")]}
        kubernetes.fail("GET jobs", RateLimitError("later", retry_after=60.0), RateLimitError("later", retry_after=1e6))
        kubernetes.run(watch_job(watch()))
        assert kubernetes.now == 1000.0 + 60.0 + 120.0

    def test_a_deadline_ends_it_also_while_nobody_answers(self, kubernetes: Kubernetes) -> None:
        kubernetes.fail("GET jobs", *[503] * 10_000)
        state = kubernetes.run(watch_job(watch()))
        assert (state.verdict, kubernetes.now) == (JobVerdict.TIMED_OUT, 5000.0)

    @pytest.mark.parametrize("status", [401, 403])
    def test_refusals_end_it_only_after_some_time(self, kubernetes: Kubernetes, status: int) -> None:
        started_before(kubernetes)
        kubernetes.fail("GET jobs", *[status] * 10, 503, *[status] * 10_000)
        state = kubernetes.run(watch_job(watch()))
        assert state.verdict is JobVerdict.REFUSED
        assert kubernetes.now == 1000.0 + 11 * 5.0 + job_flows.REFUSAL_SECONDS

    def test_a_refusal_that_passes_is_forgotten(self, kubernetes: Kubernetes) -> None:
        started_before(kubernetes)
        looked = watch()
        kubernetes.fail("GET jobs", 403)
        kubernetes.at[1020.0] = kubernetes.objects.clear
        kubernetes.run(watch_job(looked))
        assert looked.refused_since is None

    def test_a_gpu_cluster_that_is_gone_ends_it(self, kubernetes: Kubernetes) -> None:
        kubernetes.fail("GET jobs", *[AnswerLostError("lost")] * 100)
        kubernetes.at[1020.0] = lambda: setattr(kubernetes, "is_cluster_gone", "DELETING")
        state = kubernetes.run(watch_job(watch()))
        assert (state.verdict, state.reason) == (JobVerdict.CLUSTER_GONE, "DELETING")
        assert kubernetes.now == 1050.0  # the next question after the first

    def test_all_or_nothing(self, kubernetes: Kubernetes) -> None:
        uid = started_before(kubernetes)["metadata"]["uid"]
        kubernetes.pods[1] = pod(1, uid=uid, phase="Pending")
        kubernetes.events = [event("train-1-abcde", "FailedScheduling", "0/2 nodes are available")]
        state = kubernetes.run(watch_job(watch()))
        assert (state.verdict, kubernetes.now) == (JobVerdict.NOT_STARTED, 1600.0)
        assert state.word is Word.UNSCHEDULABLE

    def test_who_has_started_may_lose_sight_of_a_pod(self, kubernetes: Kubernetes) -> None:
        started_before(kubernetes)
        kubernetes.at[1100.0] = kubernetes.pods.clear
        assert kubernetes.run(watch_job(watch())).verdict is JobVerdict.TIMED_OUT

    def test_events_that_cannot_be_read_change_no_verdict(self, kubernetes: Kubernetes) -> None:
        uid = started_before(kubernetes)["metadata"]["uid"]
        kubernetes.pods[1] = pod(1, uid=uid, phase="Pending", state=waiting("InvalidImageName"))
        kubernetes.fail("GET events", 403)
        assert kubernetes.run(watch_job(watch())).verdict is JobVerdict.NOT_STARTED

    def test_a_job_that_is_deleted_by_somebody_ends_it(self, kubernetes: Kubernetes) -> None:
        assert kubernetes.run(watch_job(watch())).verdict is JobVerdict.GONE


class TestLogs:
    def test_each_look_reads_on_in_the_log_of_rank_0(self, kubernetes: Kubernetes) -> None:
        uid = started_before(kubernetes)["metadata"]["uid"]
        done = [pod(rank, uid=uid, phase="Succeeded", state=ended(0)) for rank in (0, 1)]
        kubernetes.logs["train-0-abcde"] = "2026-01-01T00:00:01Z a\n"

        def write() -> None:
            kubernetes.logs["train-0-abcde"] += "2026-01-01T00:00:01Z b\n2026-01-01T00:00:02Z c\n"
            kubernetes.pods = done

        kubernetes.at[1010.0] = write
        kubernetes.run(watch_job(watch(reads_log=True)))
        assert lines_of(kubernetes) == [(0, "a"), (0, "b"), (0, "c")]

    def test_when_it_is_over_all_of_it_is_read(self, kubernetes: Kubernetes) -> None:
        uid = started_before(kubernetes)["metadata"]["uid"]
        kubernetes.pods = [pod(rank, uid=uid, phase="Succeeded", state=ended(0)) for rank in (0, 1)]
        text = [f"2026-01-01T00:{number // 60:02}:{number % 60:02}Z {number:0200}\n" for number in range(600)]
        kubernetes.logs["train-0-abcde"] = "".join(text)
        looked = watch(reads_log=True)
        looked.cursor.limit = 5000
        kubernetes.run(watch_job(looked))
        assert [int(line) for _, line in lines_of(kubernetes)] == list(range(600))

    def test_while_it_runs_a_look_reads_one_piece(self, kubernetes: Kubernetes) -> None:
        started_before(kubernetes)
        kubernetes.logs["train-0-abcde"] = "".join(f"2026-01-01T00:00:{number:02}Z x\n" for number in range(60))
        looked = watch(reads_log=True)
        looked.cursor.limit = 100
        kubernetes.at[1001.0] = kubernetes.objects.clear
        kubernetes.run(watch_job(looked))
        assert 0 < len(lines_of(kubernetes)) < 60

    def test_a_log_that_cannot_be_read_changes_nothing(self, kubernetes: Kubernetes) -> None:
        uid = started_before(kubernetes)["metadata"]["uid"]
        kubernetes.pods = [pod(rank, uid=uid, phase="Succeeded", state=ended(0)) for rank in (0, 1)]
        assert kubernetes.run(watch_job(watch(reads_log=True))).verdict is JobVerdict.SUCCEEDED
        assert lines_of(kubernetes) == []

    def test_before_rank_0_has_begun_there_is_none(self, kubernetes: Kubernetes) -> None:
        started_before(kubernetes)
        kubernetes.pods = []
        kubernetes.run(watch_job(watch(reads_log=True)))
        assert not any(call.endswith("/log") for call in kubernetes.calls)

    def test_when_it_fails_the_end_of_the_others_logs_is_saved_those_that_vanish_first(
        self, kubernetes: Kubernetes
    ) -> None:
        uid = started_before(kubernetes)["metadata"]["uid"]
        kubernetes.pods = [
            pod(0, uid=uid),
            pod(1, uid=uid, phase="Failed", state=ended(1)),
            pod(2, uid=uid, deleted="now"),
            pod(3, uid=uid, deleted="now"),  # whose log cannot be read any more
            pod(4, uid=uid, deleted="now"),
        ]
        kubernetes.logs["train-4-abcde"] = ""
        job_there(kubernetes)["status"] = {"conditions": [FAILED]}
        for rank in range(3):
            kubernetes.logs[f"train-{rank}-abcde"] = f"2026-01-01T00:00:01Z of {rank}\n"
        job_there(kubernetes)["spec"]["completions"] = 5
        kubernetes.run(watch_job(watch(saves_logs=True)))
        assert lines_of(kubernetes) == [(2, "of 2"), (1, "of 1")]

    def test_of_a_tail_the_last_lines_are_read(self, kubernetes: Kubernetes) -> None:
        kubernetes.logs["p"] = "".join(f"2026-01-01T00:00:01Z {number}\n" for number in range(100))
        assert kubernetes.run(read_tail("default", "p", lines=2)) == ["98", "99"]

    def test_of_a_rank_without_a_pod_and_of_a_pod_that_is_gone_there_is_no_tail(self, kubernetes: Kubernetes) -> None:
        assert kubernetes.run(read_tail("default", "")) == []
        assert kubernetes.run(read_tail("default", "gone")) == []


class TestLastWords:
    def test_those_of_an_init_container_are_read_from_its_own_log(self, kubernetes: Kubernetes) -> None:
        kubernetes.logs["p"] = "2026-01-01T00:00:01Z no data\n"
        diagnosis = Diagnosis(Word.NON_ZERO_EXIT, exit_code=4, container="fetch", is_init=True)
        words = kubernetes.run(last_words_of("default", Rank(1, pod="p", diagnosis=diagnosis)))
        assert words == "The log of init container 'fetch' of rank 1 ends with:\n  | no data"
        assert kubernetes.containers == ["fetch"]

    def test_where_the_log_is_gone_what_kubernetes_remembers_is_told(self, kubernetes: Kubernetes) -> None:
        diagnosis = Diagnosis(Word.NON_ZERO_EXIT, exit_code=4, printed=("no data",))
        words = kubernetes.run(last_words_of("default", Rank(1, pod="gone", diagnosis=diagnosis)))
        assert words == "The log of rank 1 ends with:\n  | no data"

    def test_of_a_rank_of_which_nothing_is_known_there_are_none(self, kubernetes: Kubernetes) -> None:
        assert kubernetes.run(last_words_of("default", Rank(1, pod="gone"))) == ""


def state(message: str = "", verdict: JobVerdict = JobVerdict.SUCCEEDED, **changes: Any) -> JobState:
    return JobState(verdict, [Rank(0, message=message, has_begun=True)], **changes)


def test_the_result_is_what_rank_0_wrote() -> None:
    assert state('{"loss": 0.5}').result == '{"loss": 0.5}'


def test_a_job_without_ranks_has_no_result() -> None:
    assert JobState(JobVerdict.SUCCEEDED).result == ""
    assert not is_cut(JobState(JobVerdict.SUCCEEDED))


def test_a_result_as_long_as_kubernetes_keeps_may_have_been_longer() -> None:
    assert is_cut(state("ä" * 2048))
    assert not is_cut(state("a" * 4095))


CULPRIT = Rank(1, RankPhase.FAILED, node="n", diagnosis=Diagnosis(Word.OUT_OF_MEMORY, exit_code=137))


@pytest.mark.parametrize(
    ("seen", "sentence"),
    [
        (state("", JobVerdict.FAILED, culprit=CULPRIT),
         "Job j has failed: rank 1 on n has failed (out_of_memory, exit code 137)."),
        (state("", JobVerdict.FAILED, reason="BackoffLimitExceeded"), "Job j has failed: BackoffLimitExceeded."),
        (state("", JobVerdict.FAILED), "Job j has failed: Kubernetes does not say why."),
        (JobState(JobVerdict.NOT_STARTED, [Rank(0, has_begun=True), Rank(1)]),
         "Job j has not started as a whole: rank 1 has no pod."),
        (JobState(JobVerdict.NOT_STARTED, [Rank(0)], reason="it is suspended"),
         "Job j has not started as a whole (it is suspended): rank 0 has no pod."),
        (state("", JobVerdict.TIMED_OUT), "The time for job j is over (deadline)."),
        (state("", JobVerdict.GONE), "Job j is gone: somebody has deleted it."),
        (state("", JobVerdict.CLUSTER_GONE, reason="DELETING"),
         "Job j is lost with its GPU cluster, which is DELETING."),
        (state("", JobVerdict.REFUSED, reason="403"), "Kubernetes keeps refusing to tell of job j (403)."),
    ],
)  # fmt: skip
def test_a_failure_says_what_has_become_of_the_job(seen: JobState, sentence: str) -> None:
    assert failure_sentence("j", seen) == sentence

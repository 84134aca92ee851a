"""The Job controller: indexes, limits, deadlines, suspension, and what becomes of pods when a Job ends."""

from __future__ import annotations

from functools import partial
from typing import Any

from airflow_provider_together.emulator.kubernetes.defaults import fill_in
from airflow_provider_together.emulator.kubernetes.job_plan import Tally, plan
from tests.emulator.kubernetes.lab import FOREVER, UNTIL_TOLD, Lab, container, gpu_limit, indexed, job, job_state, pod

INDEX = "batch.kubernetes.io/job-completion-index"


def condition(found: Any, kind: str) -> tuple[str, str]:
    return next((one.reason, one.message) for one in found.status.conditions if one.type == kind)


def pods_of(lab: Lab, name: str) -> list[Any]:
    return list(lab.core.list_namespaced_pod("default", label_selector=f"job-name={name}").items)


def service(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"clusterIP": "None", "publishNotReadyAddresses": True}}


def test_a_job_runs_one_pod_to_its_end(lab: Lab) -> None:
    found = lab.run_job(job("one", "echo done"))
    assert (found.status.succeeded, found.status.failed, found.status.active) == (1, None, None)
    assert condition(found, "Complete") == ("CompletionsReached", "Reached expected number of succeeded pods")
    assert found.status.completion_time is not None
    (only,) = pods_of(lab, "one")
    assert lab.log(only.metadata.name) == "done\n"
    assert only.metadata.owner_references[0].uid == found.metadata.uid


def test_each_pod_of_an_indexed_job_knows_its_index(lab: Lab) -> None:
    found = lab.run_job(indexed("ranks", 3, "echo $JOB_COMPLETION_INDEX $HOSTNAME"))
    assert (found.status.succeeded, found.status.completed_indexes) == (3, "0-2")
    told = {one.metadata.annotations[INDEX]: lab.log(one.metadata.name) for one in pods_of(lab, "ranks")}
    assert told == {str(index): f"{index} ranks-{index}\n" for index in range(3)}
    assert {one.metadata.labels[INDEX] for one in pods_of(lab, "ranks")} == {"0", "1", "2"}
    assert {one.spec.hostname for one in pods_of(lab, "ranks")} == {"ranks-0", "ranks-1", "ranks-2"}


MEET = """
import os, socket
port, rank = int(os.environ["MASTER_PORT"]), os.environ["JOB_COMPLETION_INDEX"]
host = os.environ["MASTER_ADDR"]
if rank == "0":
    server = socket.create_server((host, port))
    print("met", server.accept()[0].recv(9).decode())
else:
    while True:
        try:
            socket.create_connection((host, port)).send(b"rank " + rank.encode())
            break
        except ConnectionError:
            pass
"""


def test_two_jobs_meet_on_the_same_port_each_for_itself(lab: Lab) -> None:
    for name in ("left", "right"):
        lab.core.create_namespaced_service("default", service(name))
        env = [{"name": "MASTER_ADDR", "value": f"{name}-0.{name}"}, {"name": "MASTER_PORT", "value": "29500"}]
        template = {"subdomain": name, "containers": [container("python", "-c", MEET, env=env)]}
        lab.create_job(indexed(name, 2, template=template))
    for name in ("left", "right"):
        lab.wait_for_job(name, "Complete")
        first = next(one for one in pods_of(lab, name) if one.spec.hostname == f"{name}-0")
        assert lab.log(first.metadata.name) == "met rank 1\n"
    assert len({one.address for one in lab.handle.pods()}) == 4


def test_a_name_means_nothing_without_its_service(lab: Lab) -> None:
    env = [{"name": "MASTER_ADDR", "value": "alone-0.alone"}]
    template = {"subdomain": "alone", "containers": [container("echo $MASTER_ADDR", env=env)]}
    lab.run_job(indexed("alone", 1, template=template))
    assert lab.log(pods_of(lab, "alone")[0].metadata.name) == "alone-0.alone\n"


def test_a_failure_beyond_the_limit_fails_the_job_and_ends_its_other_pods(lab: Lab) -> None:
    script = f"[ $JOB_COMPLETION_INDEX = 1 ] && exit 3; {FOREVER}"
    found = lab.run_job(indexed("fails", 2, script, backoffLimit=0))
    assert condition(found, "Failed") == ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
    assert condition(found, "FailureTarget")[0] == "BackoffLimitExceeded"
    assert found.status.active is None
    left = pods_of(lab, "fails")
    assert [one.metadata.annotations[INDEX] for one in left] == ["1"]
    assert lab.handle.processes() == []
    assert ("BackoffLimitExceeded", "Job has reached the specified backoff limit") in lab.events("fails")


def test_a_failed_pod_is_replaced_within_the_limit(lab: Lab) -> None:
    volumes, mounts = [{"name": "v", "emptyDir": {}}], [{"name": "v", "mountPath": "/v"}]
    one = container("exit 1", volumeMounts=mounts)
    found = lab.run_job(job("tries", template={"containers": [one], "volumes": volumes}, backoffLimit=1))
    assert (found.status.failed, len(pods_of(lab, "tries"))) == (2, 2)


def test_the_wait_before_a_pod_is_replaced_doubles_with_each_failure() -> None:
    manifest, tally = job("waits", "exit 1"), Tally(failed={"first": -1}, failed_at=100.0)
    fill_in("jobs", manifest)
    soon = plan(manifest, [], tally, now=100.25)
    assert (soon.create, soon.wake_after) == ((), 0.75)
    assert plan(manifest, [], tally, now=101.0).create == (-1,)
    tally.failed["second"] = -1
    assert plan(manifest, [], tally, now=101.0).wake_after == 1.0
    assert plan(manifest, [], tally, now=102.0).create == (-1,)


def test_a_job_that_lasts_too_long_fails(lab: Lab) -> None:
    found = lab.run_job(job("long", FOREVER, activeDeadlineSeconds=1))
    assert condition(found, "Failed") == ("DeadlineExceeded", "Job was active longer than specified deadline")
    assert pods_of(lab, "long") == []


def test_no_more_pods_run_than_are_wanted_at_once(lab: Lab) -> None:
    lab.create_job(job("some", UNTIL_TOLD, completions=4, parallelism=2))
    for number in (2, 4):
        lab.wait_for_ready("some", 2)
        assert len(pods_of(lab, "some")) == number
        for one in pods_of(lab, "some")[-2:]:
            lab.tell(one.metadata.name)
        lab.wait(partial(_has_succeeded, lab, "some", number))
    lab.wait_for_job("some", "Complete")
    assert len(pods_of(lab, "some")) == 4


def _has_succeeded(lab: Lab, name: str, number: int) -> bool:
    return bool(lab.job(name).status.succeeded == number)


def test_a_suspended_job_has_no_pods_until_it_is_resumed(lab: Lab) -> None:
    lab.create_job(job("rests", "true", suspend=True))
    lab.wait(lambda: lab.job("rests").status.conditions)
    assert condition(lab.job("rests"), "Suspended") == ("JobSuspended", "Job suspended")
    assert pods_of(lab, "rests") == []
    lab.batch.patch_namespaced_job("rests", "default", {"spec": {"suspend": False}})
    lab.wait_for_job("rests", "Complete")
    assert condition(lab.job("rests"), "Suspended")[0] == "JobResumed"


def test_suspending_ends_pods_without_counting_them_as_failed(lab: Lab) -> None:
    lab.create_job(job("pauses", FOREVER, backoffLimit=0))
    lab.wait_for_ready("pauses")
    lab.batch.patch_namespaced_job("pauses", "default", {"spec": {"suspend": True}})
    lab.wait(lambda: not pods_of(lab, "pauses") and not lab.handle.processes())
    assert (job_state(lab.job("pauses")), lab.job("pauses").status.failed) == ("", None)


def test_a_job_is_removed_when_its_time_is_over(lab: Lab) -> None:
    lab.create_job(job("short", "true", ttlSecondsAfterFinished=0))
    lab.wait(lambda: not lab.handle.jobs() and not pods_of(lab, "short"))


def test_a_job_takes_its_pods_with_it(lab: Lab) -> None:
    for policy in ("Background", "Foreground"):
        name = policy.lower()
        lab.create_job(job(name, FOREVER))
        lab.wait_for_ready(name)
        lab.batch.delete_namespaced_job(name, "default", propagation_policy=policy)
        lab.wait(lambda: not lab.handle.jobs() and not lab.handle.pods())
    assert lab.handle.processes() == []


def test_in_the_foreground_a_job_stays_until_its_pods_are_gone(lab: Lab) -> None:
    template = {"terminationGracePeriodSeconds": 300}
    lab.create_job(job("stays", f"trap '' TERM; echo up; {UNTIL_TOLD}", template=template))
    lab.wait_for_ready("stays")
    (only,) = pods_of(lab, "stays")
    lab.wait(lambda: lab.log(only.metadata.name) == "up\n")
    lab.batch.delete_namespaced_job("stays", "default", propagation_policy="Foreground")
    assert lab.job("stays").metadata.deletion_timestamp is not None
    lab.tell(only.metadata.name)
    lab.wait(lambda: not lab.handle.jobs())
    assert lab.handle.pods() == []


def test_orphans_stay(lab: Lab) -> None:
    lab.run_job(job("parent", "true"))
    lab.batch.delete_namespaced_job("parent", "default", propagation_policy="Orphan")
    assert lab.handle.jobs() == []
    (left,) = pods_of(lab, "parent")
    assert left.metadata.owner_references in (None, [])


def test_a_pod_that_somebody_deletes_is_a_failure(lab: Lab) -> None:
    lab.create_job(job("loses", FOREVER, backoffLimit=0))
    lab.wait_for_ready("loses")
    lab.core.delete_namespaced_pod(pods_of(lab, "loses")[0].metadata.name, "default", grace_period_seconds=0)
    lab.wait_for_job("loses", "Failed")


def test_each_index_may_have_a_limit_of_its_own(lab: Lab) -> None:
    script = "[ $JOB_COMPLETION_INDEX = 0 ] && exit 1; exit 0"
    found = lab.run_job(indexed("own", 3, script, backoffLimitPerIndex=0))
    assert condition(found, "Failed") == ("FailedIndexes", "Job has failed indexes")
    assert (found.status.completed_indexes, found.status.failed_indexes) == ("1-2", "0")


def test_rules_say_which_failures_end_a_job_and_which_do_not_count(lab: Lab) -> None:
    rules: list[dict[str, Any]] = [
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}},
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
    ]
    found = lab.run_job(job("ruled", "exit 42", backoffLimit=6, podFailurePolicy={"rules": rules}))
    reason, message = condition(found, "Failed")
    assert reason == "PodFailurePolicy"
    assert "failed with exit code 42 matching FailJob rule at index 0" in message
    lab.create_job(job("spared", FOREVER, backoffLimit=0, podFailurePolicy={"rules": rules}))
    lab.wait_for_ready("spared")
    lab.handle.evict(pods_of(lab, "spared")[0].metadata.name)
    lab.wait(lambda: len(pods_of(lab, "spared")) == 2)
    assert job_state(lab.job("spared")) == ""


def test_a_part_of_a_job_that_fits_nowhere_waits(lab: Lab) -> None:
    one = container(FOREVER, resources=gpu_limit(8))
    lab.create_job(indexed("gang", 3, template={"containers": [one]}))
    lab.wait_for_ready("gang", 2)
    pending = [one for one in lab.handle.pods() if one.phase == "Pending"]
    assert [one.reason for one in pending] == ["Unschedulable"]
    assert {one.node for one in lab.handle.pods()} == {"", *(node.metadata.name for node in lab.core.list_node().items)}


def test_a_retried_index_keeps_its_address(lab: Lab) -> None:
    lab.core.create_namespaced_service("default", service("same"))
    lab.run_job(indexed("same", 1, "exit 1", backoffLimit=1, template={"subdomain": "same"}))
    addresses = [one.address for one in lab.handle.pods()]
    assert len(addresses) == 2
    assert len(set(addresses)) == 1


def test_pods_without_a_name_have_addresses_of_their_own(lab: Lab) -> None:
    for _ in range(2):
        lab.run(pod("plain", "true"))
    assert len({one.address for one in lab.handle.pods()}) == 2

"""The Job controller: indexes, the first failure, deadlines, suspension, and what becomes of pods when a Job ends."""

from __future__ import annotations

from typing import Any

from tests.emulator.kubernetes.lab import FOREVER, UNTIL_TOLD, Lab, container, gpu_limit, indexed, job, pod

INDEX = "batch.kubernetes.io/job-completion-index"


def condition(found: Any, kind: str) -> tuple[str, str]:
    return next((one.reason, one.message) for one in found.status.conditions if one.type == kind)


def pods_of(lab: Lab, name: str) -> list[Any]:
    return list(lab.core.list_namespaced_pod("default", label_selector=f"job-name={name}").items)


def service(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"clusterIP": "None", "publishNotReadyAddresses": True}}


def test_each_pod_of_an_indexed_job_knows_its_index(lab: Lab) -> None:
    found = lab.run_job(indexed("ranks", 3, "echo $JOB_COMPLETION_INDEX $HOSTNAME"))
    assert found.status.succeeded == 3
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


def test_a_job_that_lasts_too_long_fails(lab: Lab) -> None:
    found = lab.run_job(job("long", FOREVER, activeDeadlineSeconds=1))
    assert condition(found, "Failed") == ("DeadlineExceeded", "Job was active longer than specified deadline")
    assert pods_of(lab, "long") == []


def test_a_suspended_job_has_no_pods_until_it_is_resumed(lab: Lab) -> None:
    lab.create_job(job("rests", "true", suspend=True))
    lab.wait(lambda: lab.job("rests").status.conditions)
    assert condition(lab.job("rests"), "Suspended") == ("JobSuspended", "Job suspended")
    assert pods_of(lab, "rests") == []
    lab.batch.patch_namespaced_job("rests", "default", {"spec": {"suspend": False}})
    lab.wait_for_job("rests", "Complete")
    assert condition(lab.job("rests"), "Suspended")[0] == "JobResumed"


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


def test_a_pod_that_somebody_deletes_is_a_failure(lab: Lab) -> None:
    lab.create_job(job("loses", FOREVER, backoffLimit=0))
    lab.wait_for_ready("loses")
    lab.core.delete_namespaced_pod(pods_of(lab, "loses")[0].metadata.name, "default", grace_period_seconds=0)
    lab.wait_for_job("loses", "Failed")


def test_a_part_of_a_job_that_fits_nowhere_waits(lab: Lab) -> None:
    one = container(FOREVER, resources=gpu_limit(8))
    lab.create_job(indexed("gang", 3, template={"containers": [one]}))
    lab.wait_for_ready("gang", 2)
    pending = [one for one in lab.handle.pods() if one.phase == "Pending"]
    assert [one.reason for one in pending] == ["Unschedulable"]
    assert {one.node for one in lab.handle.pods()} == {"", *(node.metadata.name for node in lab.core.list_node().items)}


def test_pods_without_a_name_have_addresses_of_their_own(lab: Lab) -> None:
    for _ in range(2):
        lab.run(pod("plain", "true"))
    assert len({one.address for one in lab.handle.pods()}) == 2


def test_a_secret_that_a_job_owns_reaches_its_ranks_and_goes_with_it(lab: Lab) -> None:
    env_from = [{"secretRef": {"name": "keys"}}]
    one = container("echo $TOKEN", envFrom=env_from)
    made = lab.create_job(indexed("owns", 2, suspend=True, template={"containers": [one]}))
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "owns", "uid": made.metadata.uid}
    secret = {"metadata": {"name": "keys", "ownerReferences": [owner]}, "stringData": {"TOKEN": "hidden $(X)"}}
    lab.core.create_namespaced_secret("default", secret)
    lab.batch.patch_namespaced_job("owns", "default", {"spec": {"suspend": False}})
    lab.wait_for_job("owns", "Complete")
    assert [lab.log(one.metadata.name) for one in pods_of(lab, "owns")] == ["hidden $(X)\n"] * 2
    lab.batch.delete_namespaced_job("owns", "default", propagation_policy="Foreground")
    lab.wait(lambda: not lab.handle.jobs())
    assert lab.handle.objects("secrets") == []


def test_ranks_that_may_not_share_a_node_do_not(lab: Lab) -> None:
    rule = {"labelSelector": {"matchLabels": {"apart": "yes"}}, "topologyKey": "kubernetes.io/hostname"}
    affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [rule]}}
    manifest = indexed("apart", 3, FOREVER, template={"affinity": affinity})
    manifest["spec"]["template"]["metadata"] = {"labels": {"apart": "yes"}}
    lab.create_job(manifest)
    lab.wait_for_ready("apart", 2)
    (waits,) = [one for one in lab.handle.pods() if not one.node]
    text = "0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules."
    lab.wait(lambda: lab.events(waits.name) == [("FailedScheduling", text)])

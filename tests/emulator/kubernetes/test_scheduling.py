"""Which node a pod comes to, and what is said of one that fits nowhere."""

from __future__ import annotations

from typing import Any

import pytest

from tests.emulator.kubernetes.conftest import MakeLab
from tests.emulator.kubernetes.lab import FOREVER, Lab, container, gpu_limit, pod


def with_gpus(number: int, **spec: Any) -> dict[str, Any]:
    return pod("gpus", containers=[container(FOREVER, resources=gpu_limit(number))], **spec)


def pending(lab: Lab, manifest: dict[str, Any]) -> str:
    """Create a pod that fits nowhere; the result is why."""
    name = lab.create_pod(manifest).metadata.name
    lab.wait(lambda: lab.pod(name).status.conditions)
    (condition,) = lab.pod(name).status.conditions
    assert (condition.type, condition.status, condition.reason) == ("PodScheduled", "False", "Unschedulable")
    assert lab.events(name) == [("FailedScheduling", condition.message)]
    return str(condition.message)


def test_there_is_a_node_for_each_worker_with_its_gpus(lab: Lab) -> None:
    answer = lab.http.get(f"/v1/compute/clusters/{lab.cluster_id}").json()
    nodes = lab.core.list_node().items
    assert [node.metadata.name for node in nodes] == [worker["host_name"] for worker in answer["gpu_worker_nodes"]]
    assert {node.status.allocatable["nvidia.com/gpu"] for node in nodes} == {"8"}


def test_pods_are_spread_over_nodes_until_all_gpus_are_taken(lab: Lab) -> None:
    names = [lab.create_pod(with_gpus(8)).metadata.name for _ in range(2)]
    for name in names:
        lab.wait_until_running(name)
    assert len({lab.pod(name).spec.node_name for name in names}) == 2
    assert pending(lab, with_gpus(1)) == "0/2 nodes are available: 2 Insufficient nvidia.com/gpu."


def test_of_nodes_that_fit_the_one_with_the_most_gpus_left_is_taken(lab: Lab) -> None:
    names = [lab.create_pod(with_gpus(number)).metadata.name for number in (4, 2, 1)]
    for name in names:
        lab.wait_until_running(name)
    first, second, third = (lab.pod(name).spec.node_name for name in names)
    assert first != second == third


def test_a_pod_is_bound_when_gpus_become_free(lab: Lab) -> None:
    first = lab.create_pod(with_gpus(8)).metadata.name
    second = lab.create_pod(with_gpus(8)).metadata.name
    lab.wait_until_running(second)
    waits = lab.create_pod(with_gpus(4)).metadata.name
    lab.wait(lambda: lab.events(waits))
    lab.core.delete_namespaced_pod(first, "default")
    lab.wait_until_running(waits)


def test_a_pod_without_gpus_runs_beside_those_that_have_them(lab: Lab) -> None:
    lab.wait_until_running(lab.create_pod(with_gpus(8)).metadata.name)
    lab.wait_until_running(lab.create_pod(with_gpus(8)).metadata.name)
    assert lab.run(pod("none", "true")).status.phase == "Succeeded"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"nodeSelector": {"a": "b"}}, "2 node(s) didn't match Pod's node affinity/selector."),
        ({"containers": [container("true", resources={"limits": {"a.b/c": 1}})]}, "2 Insufficient a.b/c."),
    ],
)
def test_what_fits_nowhere_is_told_why(lab: Lab, spec: dict[str, Any], message: str) -> None:
    assert pending(lab, pod("nowhere", "true", **spec)) == f"0/2 nodes are available: {message}"


def test_several_reasons_are_counted(lab: Lab) -> None:
    lab.handle.lose_node(lab.handle.objects("nodes")[0]["metadata"]["name"])
    found = pending(lab, with_gpus(16))
    taint = "1 node(s) had untolerated taint {node.kubernetes.io/unreachable: }"
    assert found == f"0/2 nodes are available: 1 Insufficient nvidia.com/gpu, {taint}."


def test_a_cluster_that_grows_has_more_nodes_and_one_that_shrinks_loses_pods(make_lab: MakeLab) -> None:
    lab = make_lab(num_gpus=8)
    lab.wait_until_running(lab.create_pod(with_gpus(8)).metadata.name)
    waits = lab.create_pod(with_gpus(8)).metadata.name
    lab.wait(lambda: lab.events(waits))
    path = f"/v1/compute/clusters/{lab.cluster_id}"
    lab.http.put(path, json={"num_gpus": 16}).raise_for_status()
    lab.wait_until_running(waits)
    lab.http.put(path, json={"num_gpus": 8}).raise_for_status()
    lab.wait(lambda: waits not in [one.name for one in lab.handle.pods()])
    assert len(lab.handle.objects("nodes")) == 1


def test_a_selector_leads_to_its_node(lab: Lab) -> None:
    name = lab.core.list_node().items[1].metadata.name
    chosen = lab.run(pod("chosen", "true", nodeSelector={"kubernetes.io/hostname": name}))
    assert chosen.spec.node_name == name

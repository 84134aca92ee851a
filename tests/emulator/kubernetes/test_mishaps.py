"""What goes wrong on purpose: evictions, lost nodes, worthless tokens, requests that fail; and what is recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from airflow_provider_together.emulator.errors import UnknownResourceError
from airflow_provider_together.emulator.kubernetes.objects import ApiError
from tests.emulator.kubernetes.conftest import MakeLab
from tests.emulator.kubernetes.lab import FOREVER, Lab, container, ended, pod

POD_PATH = "/api/v1/namespaces/default/pods"


def start(lab: Lab) -> str:
    return lab.start(pod("runs", FOREVER))


def disruption(found: Any) -> tuple[str, str]:
    return next((one.status, one.reason) for one in found.status.conditions if one.type == "DisruptionTarget")


def test_an_evicted_pod_has_failed_and_says_so(lab: Lab) -> None:
    name = start(lab)
    lab.handle.evict(name)
    found = lab.pod(name)
    assert (found.status.phase, found.status.reason) == ("Failed", "Evicted")
    assert found.status.message.startswith("The node was low on resource: memory.")
    assert disruption(found) == ("True", "TerminationByKubelet")
    lab.wait(lambda: ended(lab.pod(name)) is not None)
    assert ended(lab.pod(name)).exit_code == 137
    assert lab.handle.processes() == []


def test_a_lost_node_takes_its_pods_with_it_and_no_others(lab: Lab) -> None:
    names = [start(lab), start(lab)]
    lost = lab.pod(names[0]).spec.node_name
    lab.handle.lose_node(lost)
    node = lab.core.read_node(lost)
    assert next((one.status, one.reason) for one in node.status.conditions if one.type == "Ready") == (
        "Unknown",
        "NodeStatusUnknown",
    )
    found = lab.pod(names[0])
    assert (found.status.phase, found.status.reason) == ("Failed", "NodeLost")
    assert found.status.message == f"Node {lost} which was running pod {names[0]} is unresponsive"
    assert disruption(found) == ("True", "DeletionByTaintManager")
    assert lab.pod(names[1]).status.phase == "Running"


def test_a_node_may_have_fewer_gpus_and_takes_pods_by_them(lab: Lab) -> None:
    first, second = [node["metadata"]["name"] for node in lab.handle.objects("nodes")]
    lab.handle.set_gpus(first, 0)
    lab.handle.set_gpus(second, 4)
    assert lab.core.read_node(second).status.allocatable["nvidia.com/gpu"] == "4"
    assert lab.core.read_node(second).status.capacity["nvidia.com/gpu"] == "8"
    name = lab.create_pod(with_gpus(5)).metadata.name
    lab.wait(lambda: lab.events(name))
    assert lab.events(name) == [("FailedScheduling", "0/2 nodes are available: 2 Insufficient nvidia.com/gpu.")]
    lab.handle.set_gpus(first, 8)
    assert lab.wait_until_running(name).spec.node_name == first


def with_gpus(number: int) -> dict[str, Any]:
    limits = {"nvidia.com/gpu": str(number)}
    return pod(f"gpus-{number}", containers=[container(FOREVER, resources={"limits": limits})])


def test_what_is_not_there_cannot_be_lost(lab: Lab) -> None:
    with pytest.raises(ApiError, match='nodes "none" not found'):
        lab.handle.lose_node("none")
    with pytest.raises(ApiError, match='nodes "none" not found'):
        lab.handle.set_gpus("none", 8)
    with pytest.raises(ApiError, match='pods "none" not found'):
        lab.handle.evict("none")
    with pytest.raises(UnknownResourceError):
        lab.emulator.kubernetes("none")


def test_a_rotated_token_is_worthless_and_the_new_kubeconfig_has_another(lab: Lab) -> None:
    assert lab.token == f"emulated-token-{lab.cluster_id}"
    lab.handle.rotate_token()
    answer = lab.rest.get("/version")
    assert answer.status_code == 401
    assert answer.json() == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "Unauthorized",
        "reason": "Unauthorized",
        "code": 401,
    }
    lab.rest.close()
    lab.connect()
    assert lab.rest.get("/version").status_code == 200


def test_a_rotated_certificate_is_vouched_for_by_the_new_kubeconfig_only(lab: Lab) -> None:
    assert lab.rest.get("/version").status_code == 200
    lab.handle.rotate_certificate()
    with pytest.raises(httpx.ConnectError, match=r"(?i)certificate verify failed"):
        retried(lambda: lab.rest.get("/version"))
    lab.rest.close()
    lab.connect()
    assert lab.rest.get("/version").status_code == 200


def retried(ask: Callable[[], object]) -> object:
    """Ask once more if the connection had been ended under the first request."""
    try:
        return ask()
    except (httpx.ReadError, httpx.RemoteProtocolError):
        return ask()


def test_the_next_requests_fail_as_often_as_was_said_and_only_those_that_were_meant(lab: Lab) -> None:
    lab.handle.fail_next(503, times=2, path_contains="/pods")
    lab.handle.fail_next(500, method="POST")
    assert lab.rest.get("/version").status_code == 200
    assert lab.rest.get(POD_PATH).status_code == 503
    assert lab.rest.get(POD_PATH).json()["reason"] == "ServiceUnavailable"
    assert lab.rest.get(POD_PATH).status_code == 200
    assert lab.rest.post(POD_PATH, json=pod("x", "true")).status_code == 500
    assert lab.handle.pods() == []


@pytest.mark.parametrize(("status", "times"), [(200, 1), (503, 0)])
def test_a_failure_that_is_none_is_refused(lab: Lab, status: int, times: int) -> None:
    with pytest.raises(ValueError, match=f"status={status}, times={times} is wrong"):
        lab.handle.fail_next(status, times)


def test_requests_are_recorded_with_what_they_were_answered_with(lab: Lab) -> None:
    lab.rest.get(f"{POD_PATH}?labelSelector=a%3Db")
    lab.rest.get(f"{POD_PATH}/none", headers={"user-agent": "me"})
    first, second = lab.handle.requests
    assert (first.method, first.path, first.query, first.status) == ("GET", POD_PATH, "labelSelector=a%3Db", 200)
    assert (second.path, second.user_agent, second.status) == (f"{POD_PATH}/none", "me", 404)


def test_the_path_of_another_cluster_is_not_opened_by_ones_own_token(make_lab: MakeLab) -> None:
    lab, other = make_lab(), make_lab()
    assert other.rest.get(f"{lab.server}/version").status_code == 401
    assert other.rest.get(other.server.replace(other.cluster_id, "none")).status_code == 503


def test_a_container_runs_out_of_memory(lab: Lab) -> None:
    name = start(lab)
    lab.handle.run_out_of_memory(name)
    lab.wait(lambda: lab.pod(name).status.phase == "Failed")
    assert (ended(lab.pod(name)).exit_code, ended(lab.pod(name)).reason) == (137, "OOMKilled")
    assert lab.handle.processes() == []


def test_pods_are_held_back_until_they_are_let_go(lab: Lab) -> None:
    lab.handle.hold_pods("0/2 nodes are available: 2 are away.")
    name = lab.create_pod(pod("held", "true")).metadata.name
    lab.wait(lambda: lab.events(name) == [("FailedScheduling", "0/2 nodes are available: 2 are away.")])
    assert [one.reason for one in lab.handle.pods()] == ["Unschedulable"]
    lab.handle.hold_pods("")
    lab.wait(lambda: lab.pod(name).status.phase == "Succeeded")

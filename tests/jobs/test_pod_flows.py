"""Pods that earlier tries have left are removed, and no others."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_together.exceptions import RequestRefusedError, WaitTimeoutError
from airflow_provider_together.jobs.kubernetes.pod_flows import remove_earlier_pods
from tests.jobs.driving import Kubernetes

PODS = "/api/v1/namespaces/default/pods"


@pytest.fixture
def kubernetes() -> Kubernetes:
    return Kubernetes()


def leave(kubernetes: Kubernetes, name: str, *, of_try: str = "1", phase: str = "Running") -> dict[str, Any]:
    """Let a try have left a pod."""
    metadata = {"name": name, "labels": {"try_number": of_try}}
    return kubernetes.add(PODS, {"metadata": metadata, "status": {"phase": phase}})


def remove(kubernetes: Kubernetes, **changes: Any) -> None:
    kubernetes.run(remove_earlier_pods("default", **{"owner": "abc", "try_number": 2, **changes}))


def test_what_earlier_tries_have_left_is_gone_in_the_end(kubernetes: Kubernetes) -> None:
    leave(kubernetes, "first")
    leave(kubernetes, "second", of_try="2", phase="Pending")
    remove(kubernetes)
    assert kubernetes.objects == {}
    assert kubernetes.told == [f"Pod {one}, which an earlier try has left, is deleted." for one in ("first", "second")]


def test_where_nothing_is_left_nothing_is_waited_for(kubernetes: Kubernetes) -> None:
    remove(kubernetes)
    assert (kubernetes.calls, kubernetes.now) == (["GET pods"], 1000.0)


@pytest.mark.parametrize("pod", [{"phase": "Succeeded"}, {"phase": "Failed"}, {"of_try": "3"}])
def test_one_that_has_ended_and_one_of_a_later_try_are_left_alone(kubernetes: Kubernetes, pod: dict[str, str]) -> None:
    leave(kubernetes, "other", **pod)
    remove(kubernetes)
    assert kubernetes.calls == ["GET pods"]


def test_one_that_takes_its_time_is_asked_once_and_waited_for(kubernetes: Kubernetes) -> None:
    leave(kubernetes, "slow")
    kubernetes.removal_looks = 100
    kubernetes.at[1030.0] = kubernetes.objects.clear
    remove(kubernetes)
    assert (kubernetes.calls.count("DELETE pods/slow"), kubernetes.now) == (1, 1030.0)


def test_one_that_does_not_go_is_told(kubernetes: Kubernetes) -> None:
    leave(kubernetes, "stuck")
    kubernetes.removal_looks = 100
    with pytest.raises(WaitTimeoutError, match="still there after 180 s: stuck"):
        remove(kubernetes)


@pytest.mark.parametrize("status", [404, 409])
def test_one_that_goes_meanwhile_is_a_success(kubernetes: Kubernetes, status: int) -> None:
    leave(kubernetes, "first")
    kubernetes.fail("DELETE pods", status)
    kubernetes.at[1001.0] = kubernetes.objects.clear
    remove(kubernetes)


def test_a_refusal_is_told(kubernetes: Kubernetes) -> None:
    leave(kubernetes, "first")
    kubernetes.fail("DELETE pods", 403)
    with pytest.raises(RequestRefusedError):
        remove(kubernetes)

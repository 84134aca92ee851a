"""A job is refused only if its nodes are known to have too few GPUs for it."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_together.exceptions import SpecError
from airflow_provider_together.jobs.kubernetes.nodes import check_nodes, gpus_of_pod, read_nodes
from airflow_provider_together.jobs.kubernetes.spec import JobSpec
from tests.jobs.objects import node


def checked(nodes: list[dict[str, Any]], *, selector: dict[str, str] | None = None, **changes: Any) -> str:
    """Check a job that asks for 8 GPUs on each of two nodes, if it does not ask for less."""
    wanted = {"num_nodes": 2, "gpus_per_node": 8, **changes}
    spec = JobSpec(name="train", owner="abc", image="train:1", **wanted)
    return check_nodes(spec, read_nodes(nodes, selector=selector or {}), gpus=spec.gpus_per_node)


@pytest.mark.parametrize(
    ("nodes", "changes", "message"),
    [
        ([node("a", 8), node("b", 4)], {},
         "node b has 4 .*nvidia.com/gpu., and the job needs 2 nodes with 8; give gpus_per_node=4, or num_nodes=1$"),
        ([node("a", 6), node("b", 4)], {}, "node a has 6, node b has 4 .*; give gpus_per_node=4$"),
        ([node("a", 6), node("b", 4)], {"num_nodes": 1}, "give gpus_per_node=6$"),
        # What has no GPUs may be no worker at all: more than Together tells of will not come.
        ([node("a", 8), node("b", 4), node("control-plane", 0)], {"num_workers": 2}, "node b has 4"),
        # A node that is fit for others only does not help.
        ([node("a", 8), node("b", 4, disk="big")], {"num_nodes": 1, "num_workers": 2, "selector": {"disk": "big"}},
         "node b has 4 .* 1 node with 8; give gpus_per_node=4$"),
    ],
)  # fmt: skip
def test_nodes_that_are_too_small_are_named_with_what_to_do(
    nodes: list[dict[str, Any]], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError, match=f"gpus_per_node=8 is too many: .*{message}"):
        checked(nodes, **changes)


def test_of_many_nodes_some_are_named() -> None:
    with pytest.raises(SpecError, match="node n7 has 4, 12 more have too few as well"):
        checked([node(f"n{number}", 4) for number in range(20)])


@pytest.mark.parametrize(
    ("nodes", "changes"),
    [
        ([node("a", 8), node("b", 8)], {}),
        ([node("a", 8), node("b", 4)], {"num_nodes": 1, "num_workers": 2}),
        ([node("a", 8), node("b", 4)], {"gpus_per_node": 4}),
        # Together may not have heard yet that a cluster has grown.
        ([node("a", 8), node("b", 8), node("c", 4)], {"num_workers": 2}),
        ([node("a", 8), node("b", 8), node("c", 4, disk="big")], {"selector": {}}),
    ],
)
def test_where_enough_nodes_fit_nothing_is_said(nodes: list[dict[str, Any]], changes: dict[str, Any]) -> None:
    assert checked(nodes, **changes) == ""


@pytest.mark.parametrize(
    ("nodes", "changes"),
    [
        ([], {}),
        ([{}, {"metadata": {"name": "b"}, "status": {"allocatable": {"nvidia.com/gpu": "many"}}}], {}),
        ([node("a", 8), node("b", 0)], {}),
        ([node("a", 8), node("b", 4), node("c", 0)], {"num_workers": 3}),
        ([node("a", 8), node("b", 4)], {"num_workers": 3}),
        ([node("a", 8), node("b", 8)], {"selector": {"disk": "big"}}),
        ([node("a", 8), node("b", 4)], {"selector": {"disk": "big"}}),
    ],
)
def test_nodes_that_may_still_come_are_waited_for(nodes: list[dict[str, Any]], changes: dict[str, Any]) -> None:
    assert "it waits for more" in checked(nodes, **changes)


def test_the_gpus_of_all_containers_count() -> None:
    limits = [{"nvidia.com/gpu": "2"}, {"nvidia.com/gpu": 1}, {"cpu": "1"}, None]
    pod = {"containers": [{"resources": {"limits": one}} for one in limits] + [{}]}
    assert gpus_of_pod(pod) == 3
    assert gpus_of_pod({}) == 0

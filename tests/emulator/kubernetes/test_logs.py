"""Reading a container's log: all of it, parts of it, and while it is written."""

from __future__ import annotations

import re

import pytest

from tests.emulator.kubernetes.lab import UNTIL_TOLD, Lab, container, pod


def test_a_followed_log_comes_while_it_is_written_and_ends_with_the_container(lab: Lab) -> None:
    name = lab.start(pod("follow", f"echo begin; {UNTIL_TOLD}; echo end"))
    path = f"/api/v1/namespaces/default/pods/{name}/log"
    with lab.rest.stream("GET", path, params={"follow": "True"}) as answer:
        lines = answer.iter_lines()
        assert next(lines) == "begin"
        lab.tell(name)
        assert list(lines) == ["end"]
    # Clients take the end of a log before the end of its container for a lost connection.
    assert lab.pod(name).status.container_statuses[0].state.terminated is not None


def test_timestamps_are_those_of_a_kubelet(lab: Lab) -> None:
    name = lab.run(pod("stamps", "echo a; echo; printf b")).metadata.name
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z"
    assert re.fullmatch(rf"{stamp} a\n{stamp} \n{stamp} b", lab.log(name, timestamps="True"))


def test_the_end_of_a_log_can_be_asked_for_by_lines_and_its_beginning_by_bytes(lab: Lab) -> None:
    name = lab.run(pod("parts", "seq 5")).metadata.name
    assert lab.log(name, tailLines=2) == "4\n5\n"
    assert lab.log(name, tailLines=0) == ""
    assert lab.log(name, limitBytes=3) == "1\n2"


def test_what_is_older_than_wanted_is_left_out(lab: Lab) -> None:
    name = lab.start(pod("since", f"echo old; {UNTIL_TOLD}; echo new"), says="old")
    lab.tell(name)
    lab.wait(lambda: lab.pod(name).status.phase == "Succeeded")
    first, second = (line.partition(" ")[0] for line in lab.log(name, timestamps="true").splitlines())
    assert lab.log(name, sinceTime=second) == "new\n"
    assert lab.log(name, sinceTime=first) == "old\nnew\n"
    assert lab.log(name, sinceSeconds=3600) == "old\nnew\n"


def test_a_container_that_has_not_started_has_no_log(lab: Lab) -> None:
    name = lab.create_pod(pod("pull", containers=[container("true") | {"image": "x.invalid/y"}])).metadata.name
    lab.wait(lambda: lab.pod(name).spec.node_name)
    answer = lab.rest.get(f"/api/v1/namespaces/default/pods/{name}/log")
    assert answer.status_code == 400
    assert f'container "base" in pod "{name}" is waiting to start: ' in answer.json()["message"]


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ("", 400, "a container name must be specified for pod"),
        ("?container=c", 400, "container c is not valid for pod"),
        ("?container=a&previous=true", 501, "previous"),
        ("?container=a&tailLines=x", 400, "tailLines"),
        ("?container=a&tailLines=-1", 400, "tailLines"),
        ("?container=a&sinceTime=yesterday", 400, "sinceTime"),
    ],
)
def test_a_wrong_request_for_a_log_is_told_so(lab: Lab, query: str, status: int, message: str) -> None:
    found = lab.run(pod("two", containers=[container("true", name="a"), container("true", name="b")]))
    answer = lab.rest.get(f"/api/v1/namespaces/default/pods/{found.metadata.name}/log{query}")
    assert (answer.status_code, answer.json()["status"]) == (status, "Failure")
    assert message in answer.json()["message"]


def test_a_long_line_arrives_whole(lab: Lab) -> None:
    text = lab.output("head -c 200000 /dev/zero | tr '\\0' x; echo")
    assert text == "x" * 200_000 + "\n"


def test_following_the_log_of_an_ended_container_ends_at_once(lab: Lab) -> None:
    name = lab.run(pod("done", "echo bye")).metadata.name
    assert lab.log(name, follow="true") == "bye\n"

"""Commands in a running container, and the one kind of command that is never run."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import Any

import pytest
from kubernetes.stream import stream  # type: ignore[import-untyped,unused-ignore]

from airflow_provider_together.emulator.kubernetes.execution import meant_signal
from tests.emulator.kubernetes.lab import FOREVER, Lab, container, ended, pod

SIDECAR = "trap 'exit 0' INT; while true; do sleep 1; done"


def open_exec(lab: Lab, name: str, *command: str, **options: Any) -> Any:
    """Open a command as KubernetesPodOperator does, and keep its streams."""
    streams = {"stdin": False, "stdout": True, "stderr": True, "tty": False, **options}
    call = lab.core.connect_get_namespaced_pod_exec
    session = stream(call, name, "default", command=list(command), _preload_content=False, **streams)
    lab.sessions.append(session)
    return session


def start(lab: Lab, script: str = FOREVER, **spec: Any) -> str:
    name = str(lab.create_pod(pod("exec", script, **spec)).metadata.name)
    lab.wait_until_running(name)
    return name


def test_a_command_has_streams_and_an_exit_code(lab: Lab) -> None:
    name = start(lab)
    session = open_exec(lab, name, "sh", "-c", "echo out; echo err >&2; exit 5")
    session.run_forever(timeout=20)
    assert (session.read_stdout(), session.read_stderr(), session.returncode) == ("out\n", "err\n", 5)
    fine = open_exec(lab, name, "true")
    fine.run_forever(timeout=20)
    assert fine.returncode == 0


def test_a_command_reads_what_it_is_sent(lab: Lab) -> None:
    session = open_exec(lab, start(lab), "head", "-n", "1", stdin=True)
    session.write_stdin("hello\n")
    session.run_forever(timeout=20)
    assert session.read_stdout() == "hello\n"


def test_a_command_sees_the_mounts_and_the_environment_of_its_container(lab: Lab) -> None:
    volumes, mounts = [{"name": "v", "emptyDir": {}}], [{"name": "v", "mountPath": "/airflow/xcom"}]
    env = [{"name": "WHERE", "value": "/airflow/xcom/return.json"}]
    one = container("echo '[1]' > /airflow/xcom/return.json; sleep 60", volumeMounts=mounts, env=env)
    name = start(lab, containers=[one], volumes=volumes)
    script = 'while [ ! -s "$WHERE" ]; do sleep 0.02; done; cat /airflow/xcom/return.json'
    session = open_exec(lab, name, "/bin/sh", "-c", script)
    session.run_forever(timeout=20)
    assert session.read_stdout() == "[1]\n"


def test_killing_by_name_is_a_signal_to_the_container_and_to_nobody_else(lab: Lab) -> None:
    # It looks like what the command searches for, and is not in the container.
    bystander = subprocess.Popen(["/bin/sh", "-c", "read line"], stdin=subprocess.PIPE)
    name = start(lab, SIDECAR)
    session = open_exec(lab, name, "/bin/sh", stdin=True)
    session.write_stdin("kill -2 $(pgrep -u $(id -u) -f 'sh')\n")
    lab.wait(lambda: lab.pod(name).status.phase == "Succeeded")
    assert ended(lab.pod(name)).exit_code == 0
    assert bystander.poll() is None
    bystander.communicate(b"\n", timeout=20)


def test_killing_in_the_command_itself_is_the_same(lab: Lab) -> None:
    name = start(lab, SIDECAR)
    open_exec(lab, name, "/bin/sh", "-c", f"kill -s SIGINT {os.getpid()}").run_forever(timeout=20)
    lab.wait(lambda: lab.pod(name).status.phase == "Succeeded")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("kill 1", signal.SIGTERM),
        ("kill -2 1", signal.SIGINT),
        ("kill -9 $(pgrep x)", signal.SIGKILL),
        ("kill -INT 1", signal.SIGINT),
        ("kill -s SIGUSR1 1", signal.SIGUSR1),
        ("pkill -SIGINT python", signal.SIGINT),
        ("killall --signal=HUP sh", signal.SIGHUP),
        ("kill -99 1", signal.SIGTERM),
        ("cat overkill.txt", None),
        ("echo skill", None),
    ],
)
def test_the_signal_is_read_from_the_command(text: str, number: int | None) -> None:
    assert meant_signal(text) == number


def test_a_command_ends_with_its_container(lab: Lab) -> None:
    name = start(lab)
    session = open_exec(lab, name, "sh", "-c", "echo up; sleep 60")
    session.update(timeout=20)
    lab.core.delete_namespaced_pod(name, "default", grace_period_seconds=0)
    session.run_forever(timeout=20)
    lab.wait(lambda: lab.handle.processes() == [])


def test_a_command_ends_when_the_client_hangs_up(lab: Lab) -> None:
    name = start(lab)
    alone = lab.handle.processes()
    session = open_exec(lab, name, "sleep", "60")
    lab.wait(lambda: len(lab.handle.processes()) > len(alone))
    session.close()
    lab.wait(lambda: lab.handle.processes() == alone)


def test_a_program_that_is_not_there_is_told(lab: Lab) -> None:
    session = open_exec(lab, start(lab), "no-such-program")
    session.run_forever(timeout=20)
    assert "no-such-program" in session.read_channel(3)


HANDSHAKE = {
    "connection": "Upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def refusal(lab: Lab, name: str, query: str = "?command=true", **headers: str) -> tuple[int, str]:
    """Return what the opening of a command is refused with."""
    answer = lab.rest.get(f"/api/v1/namespaces/default/pods/{name}/exec{query}", headers=headers or HANDSHAKE)
    return answer.status_code, str(answer.json()["message"])


def test_nothing_is_run_in_a_pod_that_has_ended(lab: Lab) -> None:
    name = lab.run(pod("ended", "true")).metadata.name
    message = "cannot exec into a container in a completed pod; current phase is Succeeded"
    assert refusal(lab, name) == (500, message)


def test_nothing_is_run_in_a_pod_that_has_not_begun(lab: Lab) -> None:
    name = lab.create_pod(pod("waits", containers=[container("true") | {"image": "x.invalid/y"}])).metadata.name
    lab.wait(lambda: lab.events(name))
    assert refusal(lab, name)[0] in (400, 404)


def test_nothing_is_run_without_the_token(lab: Lab) -> None:
    name = start(lab)
    lab.handle.rotate_token()
    assert refusal(lab, name) == (401, "Unauthorized")


def test_a_wrong_request_for_a_command_is_told_so(lab: Lab) -> None:
    name = start(lab)
    assert refusal(lab, name, "?stdin=true") == (400, "you must specify at least one command for the container")
    assert refusal(lab, "none") == (404, 'pods "none" not found')
    assert refusal(lab, name, accept="*/*") == (400, "Upgrade request required: only WebSockets are spoken here")

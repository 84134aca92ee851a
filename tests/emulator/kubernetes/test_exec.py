"""Commands in a running container, and the one kind of command that is never run."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from airflow_provider_together.emulator.kubernetes.exec import meant_signal
from tests.emulator.kubernetes.lab import FOREVER, PATIENCE, Lab, container, ended, pod

SIDECAR = "trap 'exit 0' INT; echo up; while true; do sleep 1; done"


def start(lab: Lab) -> str:
    return lab.start(pod("exec", FOREVER))


def test_a_command_has_streams_and_an_exit_code(lab: Lab) -> None:
    name = start(lab)
    session = lab.run_exec(name, "sh", "-c", "echo out; echo err >&2; exit 5")
    assert (session.read_stdout(), session.read_stderr(), session.returncode) == ("out\n", "err\n", 5)
    assert lab.run_exec(name, "true").returncode == 0


def test_a_command_reads_what_it_is_sent(lab: Lab) -> None:
    session = lab.open_exec(start(lab), "head", "-n", "1", stdin=True)
    session.write_stdin("hello\n")
    session.run_forever(timeout=PATIENCE)
    assert session.read_stdout() == "hello\n"


def test_a_command_sees_the_mounts_and_the_environment_of_its_container(lab: Lab) -> None:
    volumes, mounts = [{"name": "v", "emptyDir": {}}], [{"name": "v", "mountPath": "/airflow/xcom"}]
    env = [{"name": "WHERE", "value": "/airflow/xcom/return.json"}]
    one = container(f"echo '[1]' > /airflow/xcom/return.json; {FOREVER}", volumeMounts=mounts, env=env)
    name = lab.start(pod("xcom", containers=[one], volumes=volumes))
    script = 'while [ ! -s "$WHERE" ]; do sleep 0.02; done; cat /airflow/xcom/return.json'
    assert lab.run_exec(name, "/bin/sh", "-c", script).read_stdout() == "[1]\n"


def test_killing_by_name_is_a_signal_to_the_container_and_to_nobody_else(lab: Lab) -> None:
    # It looks like what the command searches for, and is not in the container.
    bystander = subprocess.Popen(["/bin/sh", "-c", "read line"], stdin=subprocess.PIPE)
    name = lab.start(pod("sidecar", SIDECAR), says="up")
    session = lab.open_exec(name, "/bin/sh", stdin=True)
    session.write_stdin("kill -2 $(pgrep -u $(id -u) -f 'sh')\n")
    lab.wait(lambda: lab.pod(name).status.phase == "Succeeded")
    assert ended(lab.pod(name)).exit_code == 0
    assert bystander.poll() is None
    bystander.communicate(b"\n", timeout=PATIENCE)


def test_killing_in_the_command_itself_is_the_same(lab: Lab) -> None:
    name = lab.start(pod("sidecar", SIDECAR), says="up")
    lab.run_exec(name, "/bin/sh", "-c", f"kill -s SIGINT {os.getpid()}")
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
    session = lab.open_exec(name, "sh", "-c", f"echo up; {FOREVER}")
    session.update(timeout=PATIENCE)
    lab.core.delete_namespaced_pod(name, "default", grace_period_seconds=0)
    session.run_forever(timeout=PATIENCE)
    lab.wait(lambda: lab.handle.processes() == [])


def test_a_command_ends_with_its_container_also_if_it_cannot_be_told_apart(lab: Lab) -> None:
    name = start(lab)
    session = lab.open_exec(name, "env", "-i", "sh", "-c", f"echo up; exec {FOREVER}")
    lab.wait(lambda: session.peek_stdout() == "up\n")
    lab.core.delete_namespaced_pod(name, "default", grace_period_seconds=0)
    session.run_forever(timeout=PATIENCE)
    assert not session.is_open()


def test_a_command_ends_when_the_client_hangs_up(lab: Lab) -> None:
    name = start(lab)
    alone = lab.handle.processes()
    session = lab.open_exec(name, *FOREVER.split())
    lab.wait(lambda: len(lab.handle.processes()) > len(alone))
    session.close()
    lab.wait(lambda: lab.handle.processes() == alone)


def test_a_program_that_is_not_there_is_told(lab: Lab) -> None:
    assert "no-such-program" in lab.run_exec(start(lab), "no-such-program").read_channel(3)


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

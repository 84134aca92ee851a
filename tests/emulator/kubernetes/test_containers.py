"""What a container is told, how it ends, and what its pod says about that."""

from __future__ import annotations

import json
import signal
import sys
from typing import Any

import pytest

from tests.emulator.kubernetes.lab import FOREVER, Lab, container, ended, pod, waiting


def test_a_command_really_runs_and_its_output_is_the_log(lab: Lab) -> None:
    assert lab.output("echo $((6 * 7)); echo err >&2") == "42\nerr\n"


def test_python_is_the_python_of_the_emulator(lab: Lab) -> None:
    assert lab.output("python", "-c", "import sys; print(sys.prefix)").strip() == sys.prefix


def test_command_and_arguments_are_put_together_with_variables_expanded(lab: Lab) -> None:
    one = container("echo", "$(LOSS)", args=["$$(LOSS)", "$(NONE)"], env=[{"name": "LOSS", "value": "0.1"}])
    assert lab.output(containers=[one]) == "0.1 $(LOSS) $(NONE)\n"


def test_a_container_has_only_its_own_environment(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_THE_EMULATOR", "1")
    names = {line.partition("=")[0] for line in lab.output("env").splitlines()}
    assert names - {"PWD", "SHLVL", "_"} == {"PATH", "HOME", "HOSTNAME", "TOGETHER_EMULATOR_POD"}


def test_variables_come_from_secrets_config_maps_and_the_pod(lab: Lab) -> None:
    lab.core.create_namespaced_secret("default", {"metadata": {"name": "s"}, "stringData": {"key": "hidden"}})
    lab.core.create_namespaced_config_map("default", {"metadata": {"name": "c"}, "data": {"RATE": "0.5", "OTHER": "1"}})
    env: list[dict[str, Any]] = [
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "key"}}},
        {"name": "GONE", "valueFrom": {"secretKeyRef": {"name": "none", "key": "key", "optional": True}}},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "BOTH", "value": "$(KEY)-$(M_RATE)"},
    ]
    script = "echo $KEY ${GONE-unset} $NODE $BOTH $M_OTHER"
    one = container(script, env=env, envFrom=[{"prefix": "M_", "configMapRef": {"name": "c"}}])
    found = lab.run(pod("env", containers=[one]))
    assert lab.log(found.metadata.name) == f"hidden unset {found.spec.node_name} hidden-0.5 1\n"


def test_a_container_waits_for_a_secret_that_is_not_there_yet(lab: Lab) -> None:
    env = [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "late", "key": "key"}}}]
    name = lab.create_pod(pod("late", containers=[container("echo $KEY", env=env)])).metadata.name
    lab.wait(lambda: waiting(lab.pod(name)) == ("CreateContainerConfigError", 'secret "late" not found'))
    lab.core.create_namespaced_secret("default", {"metadata": {"name": "late"}, "stringData": {"key": "here"}})
    lab.wait(lambda: lab.pod(name).status.phase == "Succeeded")
    assert lab.log(name) == "here\n"


@pytest.mark.parametrize(("script", "code"), [("exit 7", 7), ("kill -9 $$$$", 137), ("kill -TERM $$$$", 143)])
def test_a_failure_shows_its_exit_code_or_signal(lab: Lab, script: str, code: int) -> None:
    found = lab.run(pod("fails", script))
    assert (found.status.phase, ended(found).exit_code, ended(found).reason) == ("Failed", code, "Error")
    assert ended(found).finished_at >= ended(found).started_at


def test_a_container_can_be_interrupted_where_the_emulator_cannot(lab: Lab) -> None:
    # As for an emulator that a shell has started in the background.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert lab.output("trap 'echo interrupted; exit 0' INT; kill -INT $$$$; sleep 1") == "interrupted\n"
    finally:
        signal.signal(signal.SIGINT, before)


def test_success_is_completed(lab: Lab) -> None:
    found = lab.run(pod("works", "true"))
    assert (found.status.phase, ended(found).exit_code, ended(found).reason) == ("Succeeded", 0, "Completed")


def test_a_program_that_is_not_there_is_a_start_error(lab: Lab) -> None:
    found = lab.run(pod("nothing", "no-such-program", "--help"))
    assert (found.status.phase, ended(found).exit_code, ended(found).reason) == ("Failed", 128, "StartError")
    assert "no-such-program" in ended(found).message


def test_a_command_that_no_process_can_have_is_a_start_error(lab: Lab) -> None:
    found = lab.run(pod("huge", "echo", "x" * 3_000_000))
    assert (found.status.phase, ended(found).exit_code, ended(found).reason) == ("Failed", 128, "StartError")


@pytest.mark.parametrize("image", ["registry.invalid/train:1", "registry.invalid:5000/a/b", "docker.io/lost:1"])
def test_an_image_that_is_nowhere_is_not_pulled(lab: Lab, image: str) -> None:
    lab.handle.lose_image("docker.io/lost:1")
    name = lab.create_pod(pod("pull", containers=[container("true") | {"image": image}])).metadata.name
    reasons: set[str] = set()

    def has_backed_off() -> bool:
        reasons.add(waiting(lab.pod(name))[0])
        return {"ErrImagePull", "ImagePullBackOff"} <= reasons

    lab.wait(has_backed_off)
    assert lab.pod(name).status.phase == "Pending"
    told = lab.events(name)
    assert ("Failed", "Error: ErrImagePull") in told
    assert any(reason == "Failed" and f'Failed to pull image "{image}"' in message for reason, message in told)
    assert ("BackOff", f'Back-off pulling image "{image}"') in told


def test_the_termination_message_is_what_was_written(lab: Lab) -> None:
    found = lab.run(pod("tells", """echo '{"loss": 0.25}' > /dev/termination-log"""))
    assert json.loads(ended(found).message) == {"loss": 0.25}


def test_the_termination_message_has_an_end(lab: Lab) -> None:
    found = lab.run(pod("tells", "yes | head -c 5000 > $OUT", containers=[_telling("yes | head -c 5000 > $OUT")]))
    assert len(ended(found).message) == 4096


def _telling(script: str) -> dict[str, Any]:
    env = [{"name": "OUT", "value": "/result/here"}]
    return container(script, env=env, terminationMessagePath="/result/here")


def test_the_end_of_the_log_is_the_message_of_a_failure_if_wanted(lab: Lab) -> None:
    policy = "FallbackToLogsOnError"
    failing = container("seq 100; exit 1", terminationMessagePolicy=policy)
    found = lab.run(pod("falls", containers=[failing]))
    assert ended(found).message == "".join(f"{number}\n" for number in range(21, 101))
    assert ended(lab.run(pod("files", "seq 100; exit 1"))).message is None
    fine = container("seq 100", terminationMessagePolicy=policy)
    assert ended(lab.run(pod("fine", containers=[fine]))).message is None


def test_init_containers_run_before_and_one_after_another(lab: Lab) -> None:
    volumes = [{"name": "work", "emptyDir": {}}]
    mounts = [{"name": "work", "mountPath": "/scratch"}]
    init = [container(f"sleep 0.1; echo {n} >> /scratch/order", name=f"init-{n}", volumeMounts=mounts) for n in (1, 2)]
    main = container("cat /scratch/order", volumeMounts=mounts)
    assert lab.output(initContainers=init, containers=[main], volumes=volumes) == "1\n2\n"


def test_a_failed_init_container_fails_the_pod_before_the_others_start(lab: Lab) -> None:
    found = lab.run(pod("init", "echo never", initContainers=[container("exit 3", name="prepare")]))
    assert found.status.phase == "Failed"
    assert ended(found, "prepare").exit_code == 3
    assert found.status.container_statuses[0].state.waiting.reason == "PodInitializing"


def test_a_pod_succeeds_when_all_its_containers_do(lab: Lab) -> None:
    pair = [container("sleep 0.2", name="a"), container("exit 1", name="b")]
    found = lab.run(pod("pair", containers=pair))
    assert found.status.phase == "Failed"
    assert (ended(found, "a").exit_code, ended(found, "b").exit_code) == (0, 1)


def test_a_pod_that_is_active_for_too_long_fails(lab: Lab) -> None:
    found = lab.run(pod("slow", FOREVER, activeDeadlineSeconds=1))
    assert (found.status.phase, found.status.reason) == ("Failed", "DeadlineExceeded")
    lab.wait(lambda: lab.handle.processes() == [])


def test_what_it_leaves_behind_ends_with_a_container(lab: Lab) -> None:
    lab.run(pod("leaves", f"setsid {FOREVER} & {FOREVER} & exit 0"))
    assert lab.handle.processes() == []


def test_it_ends_also_while_another_container_of_the_pod_goes_on(lab: Lab) -> None:
    pair = [container(f"setsid {FOREVER} & exit 0", name="leaves"), container(f"exec {FOREVER}", name="stays")]
    name = lab.create_pod(pod("pair", containers=pair)).metadata.name
    lab.wait(lambda: (lab.pod(name).status.container_statuses or [None])[0] and ended(lab.pod(name), "leaves"))
    assert len(lab.handle.processes()) == 1


def test_a_kubelet_tells_what_it_does(lab: Lab) -> None:
    found = lab.run(pod("tells", "true"))
    told = lab.events(found.metadata.name)
    assert [reason for reason, _ in told] == ["Scheduled", "Created", "Started"]
    assert told[0][1] == f"Successfully assigned default/{found.metadata.name} to {found.spec.node_name}"

"""Training on several nodes in a DAG on real Airflow, with containers that really run."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from airflow_provider_together.api import models
from airflow_provider_together.api.specs import ClusterSpec
from airflow_provider_together.demo.process import LoggedProcess, stop_all
from airflow_provider_together.emulator import Emulator, Fault
from airflow_provider_together.emulator.kubernetes.handle import KubernetesHandle
from airflow_provider_together.exceptions import SpecError
from airflow_provider_together.hooks.kubernetes import GPUClusterKubernetesHook
from airflow_provider_together.hooks.together import TogetherHook
from airflow_provider_together.jobs.kubernetes import api as kubernetes_api
from airflow_provider_together.jobs.kubernetes.manifests import TAKEN_ANNOTATION
from airflow_provider_together.operators.kubernetes import GPUClusterJobOperator
from airflow_provider_together.operators.kubernetes_job_task import JobTask
from airflow_provider_together.runtime.compat.versions import AirflowException, TaskDeferralTimeout
from airflow_provider_together.runtime.kubernetes_driver import KubernetesDriver
from tests.provider.kubernetes.support import (
    ENDLESS,
    VOLUME,
    Killed,
    TaskDeferred,
    meanwhile,
    python,
    run_task,
    wait_until,
)
from tests.provider.test_hook import SPEC
from tests.support.dag_runs import Run, SameRun, run_dag

pytestmark = pytest.mark.usefixtures("database")

#: Rank 0 waits for all others at the address and port of its environment, and tells what it has met.
MEETING = """
import json, os, socket
rank, nodes = int(os.environ["NODE_RANK"]), int(os.environ["NNODES"])
address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
if rank == 0:
    with socket.create_server(address) as server:
        met = sorted(int(server.accept()[0].recv(9)) for _ in range(nodes - 1))
    with open(os.environ["TOGETHER_RESULT_PATH"], "w") as file:
        json.dump({"met": met, "processes": os.environ["NPROC_PER_NODE"]}, file)
else:
    for attempt in range(200):
        try:
            socket.create_connection(address).sendall(str(rank).encode())
            break
        except OSError:
            __import__("time").sleep(0.05)
print("rank", rank, "is done")
"""
#: Answers of an API server that pass.
FAULTS = (503, 500, 429, 423, 409, 403)
#: Rank 1 fails, the others would go on for ever.
ONE_FAILS = """
import os, sys, time
if os.environ["NODE_RANK"] == "1":
    print("step 1", flush=True)
    print("no more data", flush=True)
    sys.exit(3)
time.sleep(600)
"""


def run_job(cluster_id: str, code: str = "", **parameters: Any) -> Run:
    job = {"cluster_id": cluster_id, "image": "any", "command": python(code), "poll_interval": 0.2, "shm_size": None}
    return run_task(GPUClusterJobOperator, **{**job, **parameters})


def is_clean(kubernetes: KubernetesHandle) -> bool:
    """Whether nothing of a job is left."""
    left = [*kubernetes.jobs(), *kubernetes.pods(), *kubernetes.objects("services", "default"), *kubernetes.processes()]
    return not left


def runs(kubernetes: KubernetesHandle, number: int = 2) -> bool:
    return sum(pod.phase == "Running" for pod in kubernetes.pods()) == number


def is_watched(kubernetes: KubernetesHandle) -> bool:
    """Whether somebody has looked at the running pods several times."""
    looks = sum(request.method == "GET" and request.path.endswith("/pods") for request in kubernetes.requests)
    return runs(kubernetes) and looks > 3


@pytest.mark.parametrize("deferrable", [False, True])
class TestEnd:
    def test_the_ranks_meet_and_what_rank_0_leaves_is_the_return_value(
        self, cluster_id: str, kubernetes: KubernetesHandle, deferrable: bool, output: Callable[[], str]
    ) -> None:
        run = run_job(cluster_id, MEETING, deferrable=deferrable)
        assert run.value("train") == {"met": [1], "processes": "8"}
        assert output().count("[rank 0] rank 0 is done") == 1
        assert is_clean(kubernetes)

    def test_xcoms_hold_ids_only(self, cluster_id: str, deferrable: bool) -> None:
        run = run_job(cluster_id, "print(1)", deferrable=deferrable, num_nodes=1)
        assert set(run.xcoms["train"]) == {"console_url", "job"}
        assert set(run.value("train", "job")) == {"namespace", "name", "uid"}
        assert cluster_id in run.value("train", "console_url")

    def test_the_first_rank_that_fails_ends_it_and_is_named_with_the_end_of_its_log(
        self, cluster_id: str, kubernetes: KubernetesHandle, deferrable: bool, output: Callable[[], str]
    ) -> None:
        run = run_job(cluster_id, ONE_FAILS, deferrable=deferrable)
        text = output()
        assert run.state == "failed"
        assert re.search(r"rank 1 on gpu-worker-\S+ has failed \(non_zero_exit, exit code 3\)\. It was", text)
        assert "The log of rank 1 ends with:\n  | step 1\n  | no more data" in text.replace("\\n", "\n")
        assert "[rank 1] no more data" in text
        assert is_clean(kubernetes)

    @pytest.mark.parametrize(
        ("what", "word"), [("evict", "evicted"), ("lose_node", "node_lost"), ("memory", "out_of_memory")]
    )
    def test_what_kubernetes_does_to_a_rank_has_a_word(
        self,
        cluster_id: str,
        kubernetes: KubernetesHandle,
        deferrable: bool,
        what: str,
        word: str,
        output: Callable[[], str],
    ) -> None:
        def act() -> None:
            pod = next(
                pod
                for pod in kubernetes.pods()
                if pod.annotations.get("batch.kubernetes.io/job-completion-index") == "1"
            )
            if what == "evict":
                kubernetes.evict(pod.name)
            elif what == "lose_node":
                kubernetes.lose_node(pod.node)
            else:
                kubernetes.run_out_of_memory(pod.name)

        with meanwhile(lambda: runs(kubernetes), act):
            run = run_job(cluster_id, ENDLESS, deferrable=deferrable)
        assert run.state == "failed"
        assert f"has failed ({word}" in output()

    def test_it_starts_as_a_whole_or_not_at_all(
        self, cluster_id: str, kubernetes: KubernetesHandle, deferrable: bool, output: Callable[[], str]
    ) -> None:
        occupy_a_node(cluster_id)
        run = run_job(cluster_id, ENDLESS, deferrable=deferrable, start_timeout=2)
        text = output()
        assert run.state == "failed"
        assert "has not started as a whole: rank " in text
        assert "unschedulable: Unschedulable: 0/2 nodes are available" in text
        assert [pod.name for pod in kubernetes.pods()] == ["occupant"]

    def test_an_image_that_is_not_there_is_told_for_each_rank(
        self, cluster_id: str, kubernetes: KubernetesHandle, deferrable: bool, output: Callable[[], str]
    ) -> None:
        run = run_job(cluster_id, ENDLESS, image="registry.invalid/train:1", deferrable=deferrable, start_timeout=2)
        text = output()
        assert run.state == "failed"
        assert "rank 0 on " in text
        assert "rank 1 on " in text
        assert "waits (image_pull: " in text
        assert is_clean(kubernetes)

    def test_an_init_container_that_fails_is_named_with_the_end_of_its_log(
        self, cluster_id: str, kubernetes: KubernetesHandle, deferrable: bool, output: Callable[[], str]
    ) -> None:
        fetch = {"name": "fetch", "image": "any", "command": python("print('no data')\nraise SystemExit(4)")}
        template = {"initContainers": [fetch]}
        run = run_job(cluster_id, ENDLESS, deferrable=deferrable, num_nodes=1, pod_template=template)
        text = output().replace("\\n", "\n")
        assert run.state == "failed"
        assert "has failed (non_zero_exit, exit code 4 of init container 'fetch'). It was removed." in text
        assert "The log of init container 'fetch' of rank 0 ends with:\n  | no data" in text
        assert is_clean(kubernetes)

    def test_an_init_container_that_cannot_be_pulled_is_named(
        self, cluster_id: str, deferrable: bool, output: Callable[[], str]
    ) -> None:
        template = {"initContainers": [{"name": "fetch", "image": "registry.invalid/fetch:1", "command": ["true"]}]}
        parameters = {"deferrable": deferrable, "num_nodes": 1, "pod_template": template, "start_timeout": 2}
        assert run_job(cluster_id, ENDLESS, **parameters).state == "failed"
        assert "waits (image_pull of init container 'fetch': " in output()

    def test_its_time_is_limited(
        self, cluster_id: str, kubernetes: KubernetesHandle, deferrable: bool, output: Callable[[], str]
    ) -> None:
        run = run_job(cluster_id, ENDLESS, deferrable=deferrable, timeout=2)
        assert run.state == "failed"
        assert "is over (deadline)" in output()
        assert is_clean(kubernetes)

    def test_it_does_not_outlive_the_execution_timeout_of_its_task(
        self, cluster_id: str, kubernetes: KubernetesHandle, deferrable: bool, output: Callable[[], str]
    ) -> None:
        limit = timedelta(seconds=4)
        run = run_job(cluster_id, ENDLESS, deferrable=deferrable, execution_timeout=limit, start_timeout=60)
        assert run.state == "failed"
        assert ("is over (deadline)" if deferrable else "AirflowTaskTimeout") in output()
        wait_until(lambda: is_clean(kubernetes))

    def test_who_deletes_it_ends_it(
        self, cluster_id: str, kubernetes: KubernetesHandle, deferrable: bool, output: Callable[[], str]
    ) -> None:
        def delete() -> None:
            (job,) = kubernetes.jobs()
            driver_of(cluster_id).send(kubernetes_api.delete_job("default", job.name))

        with meanwhile(lambda: runs(kubernetes), delete):
            run = run_job(cluster_id, ENDLESS, deferrable=deferrable)
        assert run.state == "failed"
        assert "is gone: somebody has deleted it" in output()

    def test_a_gpu_cluster_that_is_deleted_meanwhile_is_told_and_nothing_tried_again(
        self,
        cluster_id: str,
        emulator: Emulator,
        kubernetes: KubernetesHandle,
        deferrable: bool,
        output: Callable[[], str],
    ) -> None:
        def delete() -> None:
            TogetherHook().delete_gpu_cluster(cluster_id)
            emulator.advance(3600)

        with meanwhile(lambda: runs(kubernetes), delete):
            run = run_job(cluster_id, ENDLESS, deferrable=deferrable, retries=3)
        assert run.state == "failed"
        assert "is lost with its GPU cluster" in output()
        assert not kubernetes.processes()

    def test_faults_of_kubernetes_do_not_end_it(
        self, cluster_id: str, kubernetes: KubernetesHandle, deferrable: bool
    ) -> None:
        def fail() -> None:
            for status in FAULTS:
                kubernetes.fail_next(status, times=2, method="GET")

        with meanwhile(lambda: runs(kubernetes), fail):
            run = run_job(cluster_id, "import time\ntime.sleep(3)", deferrable=deferrable)
        assert run.state == "success"
        assert sum(request.status in FAULTS for request in kubernetes.requests) == 2 * len(FAULTS)

    @pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
    def test_an_object_that_is_in_use_is_waited_for(
        self, cluster_id: str, kubernetes: KubernetesHandle, deferrable: bool, method: str
    ) -> None:
        for status in (409, 423, 429):
            kubernetes.fail_next(status, method=method, path_contains="/jobs/")
        run = run_job(cluster_id, "print(1)", deferrable=deferrable, num_nodes=1)
        assert run.state == "success"
        assert sum(request.status in {409, 423, 429} for request in kubernetes.requests) == 3
        assert is_clean(kubernetes)

    def test_a_token_that_is_exchanged_meanwhile_is_fetched_once(
        self, cluster_id: str, emulator: Emulator, kubernetes: KubernetesHandle, deferrable: bool
    ) -> None:
        with meanwhile(lambda: is_watched(kubernetes), kubernetes.rotate_token):
            run = run_job(cluster_id, "import time\ntime.sleep(4)", deferrable=deferrable)
        assert run.state == "success"
        refused = [request for request in kubernetes.requests if request.status == 401]
        assert 1 <= len(refused) <= 3  # the wait, and in a worker the thread that follows the log
        assert sum(request.route == "get_cluster" for request in emulator.requests) <= 7

    def test_a_certificate_that_is_exchanged_meanwhile_is_waited_through(
        self, cluster_id: str, emulator: Emulator, kubernetes: KubernetesHandle, deferrable: bool
    ) -> None:
        with meanwhile(lambda: is_watched(kubernetes), kubernetes.rotate_certificate):
            run = run_job(cluster_id, "import time\ntime.sleep(4)", deferrable=deferrable)
        assert run.state == "success"
        assert sum(request.route == "get_cluster" for request in emulator.requests) <= 7
        assert is_clean(kubernetes)

    def test_a_kubeconfig_that_lags_behind_the_certificate_is_waited_for(
        self, cluster_id: str, kubernetes: KubernetesHandle, deferrable: bool, monkeypatch: pytest.MonkeyPatch,
        output: Callable[[], str],
    ) -> None:  # fmt: skip
        decode, known = models.decode_kubeconfig, []

        def lagging(raw: str) -> str:
            known.append(decode(raw))
            return known[max(len(known) - 4, 0)]

        monkeypatch.setattr(models, "decode_kubeconfig", lagging)
        with meanwhile(lambda: is_watched(kubernetes), kubernetes.rotate_certificate):
            run = run_job(cluster_id, "import time\ntime.sleep(4)", deferrable=deferrable)
        assert run.state == "success"
        assert re.search(r"(?i)did not get through: .*certificate.* is looked at again", output())

    def test_a_result_that_is_no_json_is_text(self, cluster_id: str, deferrable: bool) -> None:
        code = "import os\nopen(os.environ['TOGETHER_RESULT_PATH'], 'w').write('all good')"
        assert run_job(cluster_id, code, deferrable=deferrable, num_nodes=1).value("train") == "all good"

    def test_a_job_that_is_kept_is_marked_so_that_no_later_try_takes_its_outcome(
        self, cluster_id: str, kubernetes: KubernetesHandle, deferrable: bool
    ) -> None:
        def run() -> Run:
            with SameRun("kept", schedule=None) as dag:
                GPUClusterJobOperator(
                    task_id="train",
                    cluster_id=cluster_id,
                    image="any",
                    command=python("print(1)"),
                    poll_interval=0.2,
                    delete_on_finish=False,
                    deferrable=deferrable,
                )
            return run_dag(dag)

        first = run()
        (job,) = kubernetes.jobs()
        assert job.manifest["metadata"]["annotations"][TAKEN_ANNOTATION] == "true"
        second = run()
        assert (first.state, second.state) == ("success", "success")
        assert first.value("train", "job")["name"] == second.value("train", "job")["name"]
        assert first.value("train", "job")["uid"] != second.value("train", "job")["uid"]


def driver_of(cluster_id: str) -> KubernetesDriver:
    return KubernetesDriver(GPUClusterKubernetesHook(cluster_id))


def occupy_a_node(cluster_id: str) -> None:
    """Run a pod that takes all GPUs of a node."""
    container = {
        "name": "train",
        "image": "any",
        "command": python(ENDLESS),
        "resources": {"limits": {"nvidia.com/gpu": "8"}},
    }
    occupant = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "occupant"},
        "spec": {"restartPolicy": "Never", "containers": [container]},
    }
    call = kubernetes_api.create_claim({"metadata": {"name": "occupant", "namespace": "default"}})
    path = "/api/v1/namespaces/default/pods"
    driver_of(cluster_id).send(type(call)(call.what, "POST", path, call.read, body=occupant))


class TestRefusal:
    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ({"num_nodes": 3}, "num_nodes=3 is too many: the cluster has 2 GPU workers"),
            ({"gpus_per_node": 9}, "gpus_per_node=9 is too many: the cluster has 8 GPUs on a node"),
            ({"shared_volume": "logs"}, "shared_volume='logs' is wrong: attached to the cluster are 'data'"),
            ({"num_nodes": "{{ 'all' }}"}, "num_nodes='all' is wrong: give a whole number"),
            ({"job_name": "{{ 'Big Job' }}"}, "job_name='Big Job' is wrong: use at most 52 characters"),
            ({"timeout": "{{ 'soon' }}"}, "timeout='soon' is wrong: give a timedelta or a number of seconds"),
        ],
    )
    def test_what_is_wrong_is_told_before_anything_is_sent(
        self,
        cluster_id: str,
        kubernetes: KubernetesHandle,
        parameters: dict[str, Any],
        message: str,
        output: Callable[[], str],
    ) -> None:
        assert run_job(cluster_id, **parameters, retries=3).state == "failed"
        assert message in output()
        assert kubernetes.requests == []

    def test_a_node_with_fewer_gpus_than_it_asks_for_is_told_before_the_job_is_made(
        self, cluster_id: str, kubernetes: KubernetesHandle, output: Callable[[], str]
    ) -> None:
        node = kubernetes.objects("nodes")[-1]["metadata"]["name"]
        kubernetes.set_gpus(node, 6)
        assert run_job(cluster_id, ENDLESS, retries=3).state == "failed"
        text = output()
        assert f"gpus_per_node=8 is too many: node {node} has 6 (allocatable nvidia.com/gpu)" in text
        assert "give gpus_per_node=6, or num_nodes=1" in text
        assert jobs_made(kubernetes) == 0
        assert run_job(cluster_id, MEETING, gpus_per_node=6).value("train") == {"met": [1], "processes": "6"}

    def test_nodes_that_differ_are_told_before_anything_is_sent(
        self, cluster_id: str, kubernetes: KubernetesHandle, emulator: Emulator, output: Callable[[], str]
    ) -> None:
        path = TogetherHook().client.dialect.get_cluster(cluster_id).path
        key = {"Authorization": f"Bearer {emulator.api_key}"}
        told = httpx.get(f"{emulator.url}{path}", headers=key, trust_env=False).json()
        told["gpu_worker_nodes"][-1]["num_gpus"] = 7
        emulator.inject(Fault(route="get_cluster", status=200, body=told, times=None))
        assert run_job(cluster_id, MEETING, retries=3).state == "failed"
        assert f"{told['gpu_worker_nodes'][-1]['node_name']} has 7, the others have 8: give gpus_per_node=7" in output()
        assert kubernetes.requests == []
        assert run_job(cluster_id, MEETING, gpus_per_node=7).value("train") == {"met": [1], "processes": "7"}

    def test_a_node_that_has_no_gpus_yet_is_waited_for(
        self, cluster_id: str, kubernetes: KubernetesHandle, output: Callable[[], str]
    ) -> None:
        node = kubernetes.objects("nodes")[-1]["metadata"]["name"]
        kubernetes.set_gpus(node, 0)
        with meanwhile(lambda: runs(kubernetes, 1), lambda: kubernetes.set_gpus(node, 8)):
            assert run_job(cluster_id, "print(1)").state == "success"
        assert "The job needs 2 nodes with 8 GPUs, of which 1 can be seen by now; it waits for more." in output()

    def test_who_may_not_list_nodes_trains_all_the_same(
        self, cluster_id: str, kubernetes: KubernetesHandle, output: Callable[[], str]
    ) -> None:
        kubernetes.fail_next(403, path_contains="/nodes")
        assert run_job(cluster_id, "print(1)").state == "success"
        assert "Whether the nodes have 8 GPUs is not checked." in output()

    def test_a_slurm_cluster_takes_no_jobs_of_kubernetes(
        self, make_cluster: Callable[..., str], emulator: Emulator, output: Callable[[], str]
    ) -> None:
        cluster_id = make_cluster(cluster_type="SLURM")
        assert run_job(cluster_id).state == "failed"
        assert "it is a SLURM cluster" in output()
        assert emulator.kubernetes(cluster_id).requests == []

    def test_a_cluster_that_is_not_ready_says_to_wait(
        self, monkeypatch: pytest.MonkeyPatch, output: Callable[[], str]
    ) -> None:
        with Emulator(speed=0, kubernetes=True) as emulator:
            monkeypatch.setenv("AIRFLOW_CONN_TOGETHER_DEFAULT", emulator.connection())
            cluster = TogetherHook().create_gpu_cluster(ClusterSpec.parse(SPEC))
            assert run_job(cluster.cluster_id).state == "failed"
        assert "wait until it is READY before training on it" in output()

    @pytest.mark.parametrize(
        ("parameter", "value"),
        [("num_nodes", 0), ("image", ""), ("timeout", -1), ("start_timeout", "soon"), ("get_logs", "perhaps")],
    )
    def test_a_wrong_literal_is_told_when_the_dag_is_parsed(self, parameter: str, value: Any) -> None:
        with pytest.raises(SpecError) as caught:
            GPUClusterJobOperator(**{"task_id": "train", "cluster_id": "c", "image": "any", parameter: value})
        assert f"{parameter}={value!r}" in str(caught.value)

    def test_a_wrong_literal_of_a_mapped_task_is_told_when_the_dag_is_parsed(self) -> None:
        with DAG("mapped", schedule=None):
            partial = GPUClusterJobOperator.partial(task_id="train", cluster_id="c", image="any")
            with pytest.raises(SpecError, match="num_nodes=0"):
                partial.expand(num_nodes=[2, 0])
            partial.expand(num_nodes=[2])

    def test_somebodys_job_of_that_name_is_left_alone(
        self, cluster_id: str, kubernetes: KubernetesHandle, output: Callable[[], str]
    ) -> None:
        first = run_job(cluster_id, "print(1)", job_name="nightly", delete_on_finish=False)
        second = run_job(cluster_id, "print(1)", job_name="nightly", retries=3)
        assert (first.state, second.state) == ("success", "failed")
        assert "'nightly' exists in namespace 'default' and is not this task's" in output()
        assert len(kubernetes.jobs()) == 1


def test_every_parameter_may_be_a_template(cluster_id: str) -> None:
    literal: dict[str, Any] = {"task_id": "train", "cluster_id": "c", "image": "any"}
    own = set(GPUClusterJobOperator(**literal).__dict__) & set(GPUClusterJobOperator.template_fields)
    assert own == set(GPUClusterJobOperator.template_fields)
    code = "import os\nopen(os.environ['TOGETHER_RESULT_PATH'], 'w').write(os.environ['NNODES'] + os.environ['MODE'])"
    run = run_job(
        cluster_id,
        code,
        num_nodes="{{ 1 }}",
        gpus_per_node="{{ 0 }}",
        env_vars={"MODE": "{{ dag.dag_id }}"},
        master_port="{{ 2000 + 1 }}",
        timeout="{{ 60 }}",
        deferrable="{{ 'false' }}",
        get_logs="{{ 'false' }}",
    )
    assert run.value("train") == "1one_task"


def test_a_template_of_the_pod_is_merged_into_it(cluster_id: str) -> None:
    code = "import os\nopen(os.environ['TOGETHER_RESULT_PATH'], 'w').write(os.environ['EXTRA'])"
    template = {"containers": [{"name": "train", "env": [{"name": "EXTRA", "value": "from the template"}]}]}
    assert run_job(cluster_id, code, pod_template=template, num_nodes=1).value("train") == "from the template"


def test_what_is_written_to_the_shared_volume_is_found_by_the_next_job(
    cluster_id: str, kubernetes: KubernetesHandle
) -> None:
    write = "open('/data/model', 'w').write('weights')"
    read = "import os\nopen(os.environ['TOGETHER_RESULT_PATH'], 'w').write(open('/data/model').read())"
    volume = {"shared_volume": VOLUME, "shared_volume_mount_path": "/data", "num_nodes": 1}
    assert run_job(cluster_id, write, **volume).state == "success"
    assert run_job(cluster_id, read, **volume).value("train") == "weights"
    (claim,) = kubernetes.objects("persistentvolumeclaims")
    assert claim["spec"]["volumeName"] == VOLUME
    assert claim["spec"]["resources"]["requests"]["storage"]


@pytest.mark.parametrize("storage_class", ["fast", ""])
def test_a_volume_of_another_class_is_mounted(
    cluster_id: str, kubernetes: KubernetesHandle, storage_class: str
) -> None:
    kubernetes.set_storage_class(VOLUME, storage_class)
    code = "open('/mnt/shared/model', 'w')"
    assert run_job(cluster_id, code, shared_volume=VOLUME, num_nodes=1, start_timeout=20).state == "success"
    (claim,) = kubernetes.objects("persistentvolumeclaims")
    assert (claim["status"]["phase"], claim["spec"]["storageClassName"]) == ("Bound", storage_class)


def test_the_log_of_rank_0_is_there_while_it_runs(
    cluster_id: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    go_on = tmp_path / "go_on"
    code = (
        f"import os, time\nprint('first line', flush=True)\nwhile not os.path.exists({str(go_on)!r}): time.sleep(0.05)"
    )
    seen: list[str] = []

    def is_told() -> bool:
        seen.append("".join(capfd.readouterr()))
        return "[rank 0] first line" in "".join(seen)

    with meanwhile(is_told, go_on.touch):
        run = run_job(cluster_id, code, num_nodes=1, poll_interval=0.2)
    assert run.state == "success"


def test_logs_are_not_read_where_the_user_says_so(
    cluster_id: str, kubernetes: KubernetesHandle, output: Callable[[], str]
) -> None:
    run_job(cluster_id, "print('secret words')", get_logs=False, num_nodes=1)
    assert "secret words" not in output()
    assert not any(request.path.endswith("/log") for request in kubernetes.requests)


def test_a_result_is_with_airflow_before_the_job_is_removed(
    cluster_id: str, kubernetes: KubernetesHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose_the_worker(*_: object) -> str:
        message = "the worker is lost"
        raise RuntimeError(message)

    monkeypatch.setattr(JobTask, "_finish", lose_the_worker)
    run = run_job(cluster_id, MEETING)
    assert (run.state, run.value("train")) == ("failed", {"met": [1], "processes": "8"})
    assert len(kubernetes.jobs()) == 1


def test_a_server_that_fails_as_a_deferred_task_comes_back_is_asked_again(
    cluster_id: str, kubernetes: KubernetesHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    come_back = GPUClusterJobOperator.execute_complete

    def meet_failures(operator: GPUClusterJobOperator, context: Any, event: Any = None) -> Any:
        for path in ("/jobs/", "/pods"):
            kubernetes.fail_next(503, times=2, method="GET", path_contains=path)
        return come_back(operator, context, event)

    monkeypatch.setattr(GPUClusterJobOperator, "execute_complete", meet_failures)
    run = run_job(cluster_id, MEETING, deferrable=True)
    assert (run.state, run.value("train")) == ("success", {"met": [1], "processes": "8"})


def jobs_made(kubernetes: KubernetesHandle) -> int:
    return sum(request.method == "POST" and request.path.endswith("/jobs") for request in kubernetes.requests)


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize(
    ("result", "parameters", "cause"),
    [
        ('{"__classname__": "a"}', {}, "reserved key"),
        ("done", {"multiple_outputs": True}, "multiple_outputs=True needs a JSON object, not str"),
    ],
)
def test_a_result_that_airflow_refuses_fails_with_the_cause_and_is_not_trained_for_again(
    cluster_id: str,
    kubernetes: KubernetesHandle,
    deferrable: bool,
    result: str,
    parameters: dict[str, Any],
    cause: str,
    output: Callable[[], str],
) -> None:
    code = f"import os\nopen(os.environ['TOGETHER_RESULT_PATH'], 'w').write({result!r})"
    retries = {"retries": 1, "retry_delay": timedelta(0), "deferrable": deferrable}
    run = run_job(cluster_id, code, num_nodes=1, **retries, **parameters)
    text = output()
    assert run.state == "failed"
    assert re.search(f"has succeeded, but Airflow refuses its result: .*{cause}", text)
    assert text.count("of an earlier try is adopted") == 1
    assert jobs_made(kubernetes) == 1


def test_a_result_that_cannot_be_expanded_over_is_refused_before_the_job_is_removed(
    cluster_id: str, kubernetes: KubernetesHandle, output: Callable[[], str]
) -> None:
    parameters: dict[str, Any] = {"image": "any", "poll_interval": 0.2, "shm_size": None, "num_nodes": 1}
    with DAG("expanded", schedule=None) as dag:
        train = GPUClusterJobOperator(
            task_id="train",
            cluster_id=cluster_id,
            command=python("print(1)"),
            retries=1,
            retry_delay=timedelta(0),
            **parameters,
        )
        EmptyOperator.partial(task_id="next").expand(doc=train.output)
    assert run_dag(dag).states["train"] == "failed"
    assert "a task is expanded over it, which needs a JSON list or object, not NoneType" in output()
    assert jobs_made(kubernetes) == 1


def test_a_kill_removes_the_job(cluster_id: str, kubernetes: KubernetesHandle) -> None:
    inner = job(cluster_id, ENDLESS)
    with DAG("killed", schedule=None) as dag:
        Killed(task_id="train", inner=inner, when=lambda: runs(kubernetes))
    assert run_dag(dag).state == "failed"
    wait_until(lambda: is_clean(kubernetes))


@pytest.mark.parametrize("path", ["/jobs", "/services"])
def test_a_kill_while_the_job_is_being_made_removes_it(
    cluster_id: str, kubernetes: KubernetesHandle, path: str
) -> None:
    def is_asked_for() -> bool:
        return any(request.method == "POST" and request.path.endswith(path) for request in kubernetes.requests)

    inner = job(cluster_id, ENDLESS)
    with DAG("killed_early", schedule=None) as dag:
        Killed(task_id="train", inner=inner, when=is_asked_for)
    assert run_dag(dag).state == "failed"
    wait_until(lambda: is_clean(kubernetes))


def deletions(kubernetes: KubernetesHandle) -> int:
    return sum(request.method == "DELETE" and "/jobs/" in request.path for request in kubernetes.requests)


def test_the_deletion_is_asked_for_inside_of_the_signal_handler(cluster_id: str, kubernetes: KubernetesHandle) -> None:
    asked: list[int] = []
    inner = job(cluster_id, ENDLESS)
    with DAG("killed", schedule=None) as dag:
        Killed(
            task_id="train",
            inner=inner,
            when=lambda: is_watched(kubernetes),
            after=lambda: asked.append(deletions(kubernetes)),
        )
    assert run_dag(dag).state == "failed"
    assert asked == [1]
    assert deletions(kubernetes) == 1


def test_a_deletion_that_failed_inside_of_the_handler_is_caught_up(
    cluster_id: str, kubernetes: KubernetesHandle
) -> None:
    inner = job(cluster_id, ENDLESS)
    with DAG("killed", schedule=None) as dag:
        Killed(
            task_id="train",
            inner=inner,
            when=lambda: is_watched(kubernetes),
            before=lambda: kubernetes.fail_next(503, path_contains="/jobs/", method="GET"),
        )
    assert run_dag(dag).state == "failed"
    wait_until(lambda: is_clean(kubernetes))


def test_a_kill_before_anything_was_made_asks_for_nothing() -> None:
    job("c", ENDLESS).on_kill()


def test_a_kill_leaves_the_job_of_somebody_else_alone(cluster_id: str, kubernetes: KubernetesHandle) -> None:
    run_job(cluster_id, "print(1)", job_name="nightly", delete_on_finish=False, num_nodes=1)
    operator = job(cluster_id, ENDLESS, job_name="nightly")
    with DAG("other", schedule=None) as dag:
        Killed(task_id="train", inner=operator, when=lambda: operator._owner is not None and operator._owner.owns)  # noqa: SLF001
    assert run_dag(dag).state == "failed"
    assert [one.name for one in kubernetes.jobs()] == ["nightly"]


def job(cluster_id: str, code: str, **parameters: Any) -> GPUClusterJobOperator:
    return GPUClusterJobOperator(
        task_id="inner", cluster_id=cluster_id, image="any", command=python(code), poll_interval=0.2, **parameters
    )


def test_a_try_after_a_killed_worker_adopts_the_job(
    cluster_id: str, kubernetes: KubernetesHandle, tmp_path: Path
) -> None:
    go_on = tmp_path / "go_on"
    wait = f"import os, time\nwhile not os.path.exists({str(go_on)!r}): time.sleep(0.05)"
    code = f"{wait}\nopen(os.environ['TOGETHER_RESULT_PATH'], 'w').write('41')"
    parameters = {"cluster_id": cluster_id, "image": "any", "command": python(code), "poll_interval": 0.2}
    command = [
        sys.executable,
        "-m",
        "tests.provider.kubernetes.worker",
        "GPUClusterJobOperator",
        json.dumps(parameters),
    ]
    root = Path(__file__).parents[3]
    first = LoggedProcess(command, environment=os.environ, folder=root, log_file=tmp_path / "first.log")
    second = None
    try:
        wait_until(lambda: runs(kubernetes) or first.exit_status is not None)
        assert runs(kubernetes), first.tail()
        first.send(signal.SIGKILL, to_session=True)
        second = LoggedProcess(command, environment=os.environ, folder=root, log_file=tmp_path / "second.log")
        wait_until(lambda: "of an earlier try is adopted" in second.output() or second.exit_status is not None)
        go_on.touch()
        second.wait(60.0)
        assert second.exit_status == 0, second.tail()
        assert "'return_value': 41" in second.output()
    finally:
        stop_all([process for process in (first, second) if process is not None], grace=1.0)
    assert sum(request.method == "POST" and request.path.endswith("/jobs") for request in kubernetes.requests) == 1


def test_a_retry_takes_the_success_that_nobody_has_taken(
    cluster_id: str, kubernetes: KubernetesHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait = JobTask._wait_here  # noqa: SLF001

    def die_in_the_first_try(task: JobTask, started: Any, terms: Any) -> Any:
        if task._ti.try_number == 1:  # noqa: SLF001
            message = "the worker died"
            raise RuntimeError(message)
        return wait(task, started, terms)

    monkeypatch.setattr(JobTask, "_wait_here", die_in_the_first_try)
    code = "import os\nopen(os.environ['TOGETHER_RESULT_PATH'], 'w').write('41')"
    run = run_job(cluster_id, code, num_nodes=1, retries=1, retry_delay=timedelta(0))
    assert run.value("train") == 41
    assert sum(request.method == "POST" and request.path.endswith("/jobs") for request in kubernetes.requests) == 1


class Abandoned(GPUClusterJobOperator):
    """Stands for a task whose deferral Airflow ends without an event."""

    def execute(self, context: Any) -> Any:
        try:
            return super().execute(context)
        except TaskDeferred:
            return self.resume_execution("__fail__", {"error": "Trigger timeout"}, context)


def test_where_airflow_ends_the_wait_the_job_is_removed(
    cluster_id: str, kubernetes: KubernetesHandle, output: Callable[[], str]
) -> None:
    parameters = {"cluster_id": cluster_id, "image": "any", "command": python(ENDLESS), "deferrable": True}
    assert run_task(Abandoned, **parameters).state == "failed"
    text = output()
    assert TaskDeferralTimeout.__name__ in text or "It was removed" in text
    assert is_clean(kubernetes)


@pytest.mark.parametrize(
    "event",
    [None, {}, {"verdict": "fine"}, {"cluster_id": "other", "namespace": "n", "job_name": "j", "job_uid": "u",
                                     "verdict": "failed", "word": "", "rank": None, "status": ""}],
)  # fmt: skip
def test_an_event_of_somebody_else_is_refused(event: Any) -> None:
    with pytest.raises(ValueError, match="the trigger's event is"):
        job("c", ENDLESS).execute_complete({"ti": None}, event)  # type: ignore[typeddict-item]


def test_an_error_of_ours_is_one_of_airflows(cluster_id: str, emulator: Emulator) -> None:
    del emulator
    with DAG("refused", schedule=None):
        operator = job(cluster_id, ENDLESS, num_nodes=7)
    with pytest.raises(AirflowException, match="num_nodes=7"):
        operator.execute({"ti": Instance()})  # type: ignore[typeddict-item]


class Instance:
    """As much of a task instance as a refusal needs."""

    dag_id, run_id, task_id, map_index, try_number, dag_version_id = "d", "r", "t", -1, 1, ""

    def xcom_push(self, key: str, value: Any) -> None:
        """Forget it."""

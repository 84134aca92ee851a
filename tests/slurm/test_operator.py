"""The operator in DAGs on real Airflow, against a real Slurm behind two ssh servers."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, BaseOperator

from airflow_provider_together.api.specs import ClusterSpec
from airflow_provider_together.emulator import Emulator
from airflow_provider_together.exceptions import SpecError
from airflow_provider_together.hooks.together import TogetherHook
from airflow_provider_together.operators.slurm import GPUClusterSlurmOperator
from airflow_provider_together.operators.slurm_task import SlurmTask
from tests.provider.test_hook import SPEC
from tests.slurm.conftest import CONNECTION, connect
from tests.slurm.site import PASSPHRASE, Site, slurm_site, until
from tests.support.dag_runs import Run, run_dag

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("database", "together")]

CLUSTER = "c-1"
both_modes = pytest.mark.parametrize("deferrable", [False, True], ids=["in the worker", "deferred"])


def operator(**parameters: Any) -> GPUClusterSlurmOperator:
    given = {"task_id": "train", "cluster_id": CLUSTER, "ssh_conn_id": CONNECTION, "poll_interval": 0.1, **parameters}
    return GPUClusterSlurmOperator(**given)


def train(**parameters: Any) -> Run:
    with DAG("slurm", schedule=None) as dag:
        operator(**parameters)
    return run_dag(dag)


def job_id_of(run: Run) -> str:
    """Return the id that was pushed; Airflow's deserializer makes a number of a text of digits."""
    return str(run.value("train", "job_id"))


@both_modes
def test_a_script_runs_on_all_nodes_and_its_output_and_its_result_come_back(
    site: Site, deferrable: bool, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    script = """
        echo "on $SLURM_JOB_NUM_NODES nodes"
        srun --ntasks-per-node=1 sh -c 'echo "rank $SLURM_PROCID has $SLURM_GPUS_ON_NODE GPUs"'
        echo >&2 "and errors as well"
        echo '{"loss": 0.25}' >"$TOGETHER_RESULT_PATH"
    """
    run = train(script=script, sbatch_options={"nodes": 2, "gpus-per-node": 8}, deferrable=deferrable)
    (job,) = site.jobs()[-1:]
    assert run.state == "success"
    assert run.value("train") == {"loss": 0.25}
    assert job_id_of(run) == job.job_id
    assert job.state == "COMPLETED"
    assert job.name.startswith("slurm.train.")
    output = "".join(capfd.readouterr())
    for line in ("on 2 nodes", "rank 0 has 8 GPUs", "rank 1 has 8 GPUs", "and errors as well"):
        assert (caplog.text if deferrable else output).count(line) == 1
    assert f"Slurm job {job.job_id} has ended COMPLETED (exit code 0)." in output


@both_modes
def test_an_exit_code_fails_the_task_and_is_told(
    site: Site, deferrable: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    run = train(script="exit 7", deferrable=deferrable)
    job = site.jobs()[-1]
    assert run.state == "failed"
    assert job_id_of(run) == job.job_id
    message = f"Slurm job {job.job_id} has ended FAILED (exit code 7, reason NonZeroExitCode)."
    assert message in "".join(capfd.readouterr())


@both_modes
def test_a_result_that_airflow_refuses_fails_with_the_cause_and_is_not_trained_for_again(
    site: Site, deferrable: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    before = len(site.jobs())
    run = train(
        script='echo done >"$TOGETHER_RESULT_PATH"',
        multiple_outputs=True,
        deferrable=deferrable,
        retries=1,
        retry_delay=timedelta(0),
    )
    output = "".join(capfd.readouterr())
    assert run.state == "failed"
    assert "refuses its result: multiple_outputs=True needs a JSON object, not str" in output
    assert "which an earlier try of this task has submitted" in output
    assert len(site.jobs()[before:]) == 1


@both_modes
def test_both_sides_pass_the_jump_host_and_log_in_once(site: Site, deferrable: bool) -> None:
    before = [site.logins("jump"), site.forwarded(), site.logins("login")]
    assert train(script="sleep 1", deferrable=deferrable).state == "success"
    after = [site.logins("jump"), site.forwarded(), site.logins("login")]
    # Who defers logs in to submit, in the triggerer and to conclude.
    expected = 3 if deferrable else 1
    assert [now - then for now, then in zip(after, before, strict=True)] == [expected] * 3


def test_a_job_that_slurm_refuses_is_not_retried(
    site: Site, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("airflow_provider_together.jobs.slurm.flows.NODES_PATIENCE", 0.0)
    before = len(site.jobs())
    run = train(script="true", sbatch_options={"gpus-per-node": 9}, retries=3, retry_delay=timedelta(0))
    assert run.state == "failed"
    assert "Slurm refuses the job: sbatch: error" in "".join(capfd.readouterr())
    assert [job.reason for job in site.jobs()[before:]] == ["BadConstraints"]


def test_the_record_of_a_refused_job_is_not_taken_for_the_job(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slurm keeps one under the job's name; nodes that report late must not end in following it."""
    monkeypatch.setattr("airflow_provider_together.jobs.slurm.flows.NODES_PATIENCE", 30.0)
    before = len(site.jobs())
    script = '[ -e ~/late ] && exec /usr/bin/sbatch "$@"; touch ~/late; exec /usr/bin/sbatch -G 99 "$@"'
    with site.hindered("sbatch", script):
        assert train(script="true").state == "success"
    assert [job.reason for job in site.jobs()[before:]] == ["BadConstraints", "None"]


def test_options_environment_and_own_lines_of_the_script_reach_the_job(
    site: Site, capfd: pytest.CaptureFixture[str]
) -> None:
    script = '#!/bin/sh\n#SBATCH --gpus-per-node=3\n#SBATCH --job-name=other\necho "$SLURM_GPUS_ON_NODE GPUs, $WORD"\n'
    run = train(
        script=script,
        sbatch_options=["--comment=a b"],
        env={"WORD": "it's {{ 1 + 1 }}", "SECRET": "canary-env"},
        job_name="my training",
        output_path="logs-of-%j.txt",
    )
    job_id = job_id_of(run)
    assert (site.home / f"logs-of-{job_id}.txt").read_text() == "3 GPUs, it's 2\n"
    assert "3 GPUs, it's 2" in "".join(capfd.readouterr())
    assert site.jobs()[-1].name.startswith("my-training.")
    files = [path.read_text() for path in site.home.rglob("*") if path.is_file()]
    assert not any("canary-env" in text for text in files)


def test_a_script_may_be_a_file_beside_the_dag(site: Site, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    del site
    file = tmp_path / "train.sh"
    file.write_bytes(b"#!/usr/bin/env python3\r\nprint('from a file')\r\n")
    assert train(script_file=str(file)).state == "success"
    assert "from a file" in "".join(capfd.readouterr())


COUNTS_ITS_NODES = '#!/bin/bash\n#SBATCH --nodes=2\nprintf "$SLURM_JOB_NUM_NODES" >"$TOGETHER_RESULT_PATH"\n'


@pytest.mark.parametrize(
    "script",
    [
        COUNTS_ITS_NODES.replace("\n", "\r\n"),
        f"\ufeff{COUNTS_ITS_NODES}",
        f"\n    {COUNTS_ITS_NODES}".replace("\n", "\n    "),
        COUNTS_ITS_NODES.replace("\n#", "\n    #"),
    ],
    ids=["from Windows", "with a byte order mark", "indented", "indented but for its first line"],
)
@pytest.mark.parametrize("is_file", [False, True], ids=["as text", "in a file"])
def test_the_lines_of_a_script_count_whatever_it_comes_from(
    site: Site, script: str, is_file: bool, tmp_path: Path
) -> None:
    del site
    (tmp_path / "job.sbatch").write_bytes(script.encode())
    given = {"script_file": str(tmp_path / "job.sbatch")} if is_file else {"script": script}
    assert train(**given).value("train") == 2


def test_a_file_with_a_line_that_slurm_would_ignore_is_refused_before_it_is_submitted(
    site: Site, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = len(site.jobs())
    (tmp_path / "job.sbatch").write_text("#!/bin/sh\nset -e\n#SBATCH --nodes=2\n")
    assert train(script_file=str(tmp_path / "job.sbatch")).state == "failed"
    assert "Slurm ignores what stands behind the first command" in "".join(capfd.readouterr())
    assert len(site.jobs()) == before


def test_a_file_in_another_encoding_is_told(site: Site, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    del site
    (tmp_path / "job.sbatch").write_text("#!/bin/sh\n", encoding="utf-16")
    assert train(script_file=str(tmp_path / "job.sbatch")).state == "failed"
    assert "save it as UTF-8" in "".join(capfd.readouterr())


def test_the_environment_may_bear_the_names_that_the_programs_use(site: Site) -> None:
    del site
    names = ["timeout", "folder", "status", "job"]
    script = f'printf "{"|".join(f"${name}" for name in names)}" >"$TOGETHER_RESULT_PATH"'
    assert train(script=script, env={name: f"my {name}" for name in names}).value("train") == (
        "my timeout|my folder|my status|my job"
    )


def test_a_login_host_without_sbatch_says_what_to_do_and_is_not_asked_again(
    site: Site, capfd: pytest.CaptureFixture[str]
) -> None:
    before = len(site.jobs())
    with site.hindered("sbatch", "echo 'bash: sbatch: command not found' >&2; exit 127"):
        assert train(script="true", retries=2, retry_delay=timedelta(0)).state == "failed"
    output = "".join(capfd.readouterr())
    assert "the login host has no sbatch in its PATH (bash: sbatch: command not found). Add the folder" in output
    assert "Slurm refuses" not in output
    assert len(site.jobs()) == before


def test_room_in_slurms_queue_is_waited_for(site: Site) -> None:
    before = len(site.jobs())
    script = """
        [ -e "$HOME/asked" ] && exec /usr/bin/sbatch "$@"
        touch "$HOME/asked"
        echo >&2 'sbatch: error: QOSMaxSubmitJobPerUserLimit'
        echo >&2 'sbatch: error: Batch job submission failed: Job violates accounting/QOS policy'
        exit 1
    """
    (site.home / "asked").unlink(missing_ok=True)
    with site.hindered("sbatch", script):
        assert train(script="true").state == "success"
    assert len(site.jobs()[before:]) == 1


def test_a_long_output_is_shown_whole(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    del site
    assert train(script="seq -f 'line %06.0f of a long output' 1 20000").state == "success"
    assert "".join(capfd.readouterr()).count("of a long output") == 20000


def test_output_is_not_shown_where_nobody_wants_it(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    del site
    assert train(script="echo unwanted", get_logs=False).state == "success"
    assert "unwanted" not in "".join(capfd.readouterr())


def let_tasks_be(monkeypatch: pytest.MonkeyPatch, task: type[SlurmTask]) -> None:
    """Let operators run another kind of task than theirs, in which something goes wrong."""
    monkeypatch.setattr("airflow_provider_together.operators.slurm_task.SlurmTask", task)


class TestOnceAndOnlyOnce:
    def test_a_try_that_died_before_it_could_save_the_job_leaves_it_to_the_next(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Dying(SlurmTask):
            """Stands for a worker that dies after the submission, in its first try."""

            def _remember(self, job: Any, **details: Any) -> None:
                if self._ti.try_number == 1:
                    message = "the worker died"
                    raise RuntimeError(message)
                super()._remember(job, **details)

        let_tasks_be(monkeypatch, Dying)
        before = len(site.jobs())
        with DAG("dying", schedule=None) as dag:
            GPUClusterSlurmOperator(
                task_id="train", cluster_id=CLUSTER, ssh_conn_id=CONNECTION, script="sleep 1", poll_interval=0.1,
                retries=1, retry_delay=timedelta(0),
            )  # fmt: skip
        run = run_dag(dag)
        assert run.state == "success"
        assert [job.state for job in site.jobs()[before:]] == ["COMPLETED"]

    def test_a_job_that_ended_well_while_nobody_watched_is_not_run_again(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Deaf(SlurmTask):
            """Stands for a worker that dies just before the job's end, in its first try."""

            def _watch(self, hook: Any, job: Any) -> Any:
                ending = super()._watch(hook, job)
                if self._ti.try_number == 1:
                    message = "the worker died"
                    raise RuntimeError(message)
                return ending

        let_tasks_be(monkeypatch, Deaf)
        before = len(site.jobs())
        with DAG("deaf", schedule=None) as dag:
            GPUClusterSlurmOperator(
                task_id="train", cluster_id=CLUSTER, ssh_conn_id=CONNECTION, poll_interval=0.1,
                script='echo 42 >"$TOGETHER_RESULT_PATH"', retries=1, retry_delay=timedelta(0),
            )  # fmt: skip
        run = run_dag(dag)
        assert run.value("train") == 42
        assert len(site.jobs()[before:]) == 1

    @both_modes
    def test_a_retry_after_a_failed_job_submits_the_next(self, site: Site, deferrable: bool, tmp_path: Path) -> None:
        mark, before = tmp_path / "mark", len(site.jobs())
        script = f"if [ -e {mark} ]; then exit 0; fi; touch {mark}; exit 3"
        run = train(script=script, deferrable=deferrable, retries=2, retry_delay=timedelta(0))
        first, second = site.jobs()[before:]
        assert run.state == "success"
        assert (first.state, second.state) == ("FAILED", "COMPLETED")
        assert (first.name.rpartition(".")[2], second.name.rpartition(".")[2]) == ("1", "2")
        assert job_id_of(run) == second.job_id

    @both_modes
    def test_a_result_that_airflow_does_not_take_is_handed_over_again_and_not_trained_again(
        self, site: Site, deferrable: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

        pushed = RuntimeTaskInstance.xcom_push

        def push(self: RuntimeTaskInstance, key: str, value: Any) -> None:
            if key == "return_value" and self.try_number == 1:
                message = "Airflow does not take it"
                raise ValueError(message)
            pushed(self, key, value)

        monkeypatch.setattr(RuntimeTaskInstance, "xcom_push", push)
        before = len(site.jobs())
        script = 'echo "[1]" >"$TOGETHER_RESULT_PATH"'
        run = train(script=script, deferrable=deferrable, retries=1, retry_delay=timedelta(0))
        assert run.value("train") == [1]
        assert len(site.jobs()[before:]) == 1

    def test_a_result_with_nan_does_not_train_again(self, site: Site) -> None:
        before = len(site.jobs())
        script = 'echo \'{"loss": NaN}\' >"$TOGETHER_RESULT_PATH"'
        assert train(script=script, retries=1, retry_delay=timedelta(0)).state == "success"
        assert len(site.jobs()[before:]) == 1

    def test_mapped_tasks_have_a_job_each(self, site: Site) -> None:
        before = len(site.jobs())
        with DAG("mapped", schedule=None) as dag:
            GPUClusterSlurmOperator.partial(
                task_id="train", cluster_id=CLUSTER, ssh_conn_id=CONNECTION, poll_interval=0.1
            ).expand(script=["echo 1 >$TOGETHER_RESULT_PATH", "echo 2 >$TOGETHER_RESULT_PATH"])
        run = run_dag(dag)
        assert [run.value(f"train[{index}]") for index in (0, 1)] == [1, 2]
        assert len(site.jobs()[before:]) == 2


class TestOutages:
    def test_a_lost_answer_leads_to_the_job_that_was_submitted(self, site: Site) -> None:
        before, logins = len(site.jobs()), site.logins("login")
        with site.hindered("sbatch", '/usr/bin/sbatch "$@"; hang_up; sleep 1'):
            assert train(script="true").state == "success"
        assert len(site.jobs()[before:]) == 1
        assert site.logins("login") == logins + 2

    @both_modes
    def test_a_lost_connection_does_not_end_the_wait(self, site: Site, deferrable: bool, tmp_path: Path) -> None:
        before, logins, go = len(site.jobs()), site.logins("login"), tmp_path / "go"

        def strike() -> None:
            until(lambda: site.logins("login") == logins + (2 if deferrable else 1))
            until(lambda: [job.state for job in site.jobs()[before:]] == ["RUNNING"])
            for name in ("login", "jump"):
                site.stop_server(name)
            go.touch()
            until(lambda: site.jobs()[-1].state == "COMPLETED")
            for name in ("login", "jump"):
                site.start_server(name)

        run = with_another_thread(strike, lambda: train(script=waiting_for(go), deferrable=deferrable))
        assert run.state == "success"
        assert len(site.jobs()[before:]) == 1
        assert site.logins("login") == logins + (4 if deferrable else 2)

    def test_a_slurm_that_is_restarted_does_not_end_the_wait(
        self, site: Site, capfd: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        before, go = len(site.jobs()), tmp_path / "go"

        def strike() -> None:
            until(lambda: [job.state for job in site.jobs()[before:]] == ["RUNNING"])
            site.stop_server("slurmctld")
            go.touch()
            until((site.home / "ended").exists)
            site.start_server("slurmctld")

        script = f"{waiting_for(go)}; touch ~/ended; echo '[1]' >$TOGETHER_RESULT_PATH"
        run = with_another_thread(strike, lambda: train(script=script))
        assert run.value("train") == [1]
        assert "COMPLETED" in "".join(capfd.readouterr())
        assert len(site.jobs()[before:]) == 1

    def test_a_slurm_that_does_not_answer_gets_the_job_once_it_does(self, site: Site) -> None:
        before = len(site.jobs())
        script = """
            if [ -e "$HOME/tried" ]; then exec /usr/bin/sbatch "$@"; fi
            touch "$HOME/tried"
            /usr/bin/sbatch "$@" >/dev/null
            echo >&2 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation'
            exit 1
        """
        with site.hindered("sbatch", script):
            assert train(script="true").state == "success"
        assert len(site.jobs()[before:]) == 1

    def test_a_job_that_slurm_has_forgotten_is_known_by_its_own_record(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        go = tmp_path / "go"
        with slurm_site(min_job_age=2) as site:
            connect(monkeypatch, site)

            def strike() -> None:
                until(lambda: [job.state for job in site.jobs()] == ["RUNNING"])
                site.stop_server("login")
                go.touch()
                until(lambda: site.jobs() == [])
                site.start_server("login")

            run = with_another_thread(strike, lambda: train(script=f"{waiting_for(go)}; exit 9"))
            assert run.state == "failed"
            assert "has ended FAILED (exit code 9" in "".join(capfd.readouterr())
        assert site.leftovers() == []

    @both_modes
    def test_a_job_that_takes_too_long_is_cancelled(
        self, site: Site, deferrable: bool, capfd: pytest.CaptureFixture[str]
    ) -> None:
        run = train(script="sleep 60", timeout=2, deferrable=deferrable)
        assert run.state == "failed"
        until(lambda: site.jobs()[-1].state == "CANCELLED")
        assert "has ended TIMED_OUT: the task's timeout has passed" in "".join(capfd.readouterr())

    def test_a_deferred_job_ends_with_the_execution_timeout_of_its_task(
        self, site: Site, capfd: pytest.CaptureFixture[str]
    ) -> None:
        run = train(script="sleep 60", execution_timeout=timedelta(seconds=12), deferrable=True)
        assert run.state == "failed"
        until(lambda: site.jobs()[-1].state == "CANCELLED")
        assert "has ended TIMED_OUT" in "".join(capfd.readouterr())

    @both_modes
    def test_a_job_that_somebody_cancels_fails_the_task(
        self, site: Site, deferrable: bool, capfd: pytest.CaptureFixture[str]
    ) -> None:
        before = len(site.jobs())

        def strike() -> None:
            until(lambda: [job.state for job in site.jobs()[before:]] == ["RUNNING"])
            until(lambda: any("ready" in path.read_text() for path in site.home.rglob("output.log")))
            site.cancel(site.jobs()[-1].job_id)

        script = "trap 'exit 0' TERM; echo ready; sleep 60 & wait"
        run = with_another_thread(strike, lambda: train(script=script, deferrable=deferrable))
        assert run.state == "failed"
        assert "has ended CANCELLED" in "".join(capfd.readouterr())


class Killed(BaseOperator):
    """Runs an operator and kills it as Airflow's signal handler does, as soon as the time has come."""

    def __init__(self, *, inner: GPUClusterSlurmOperator, when: Callable[[], bool], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.inner = inner
        self.when = when

    def execute(self, context: Any) -> None:
        def strike() -> None:
            until(self.when)
            os.kill(os.getpid(), signal.SIGALRM)

        before = signal.signal(signal.SIGALRM, lambda *_: self.inner.on_kill())
        try:
            with_another_thread(strike, lambda: self.inner.execute(context))
        finally:
            signal.signal(signal.SIGALRM, before)


class TestKilled:
    def test_a_killed_wait_cancels_the_job(self, site: Site, capfd: pytest.CaptureFixture[str]) -> None:
        before = len(site.jobs())
        inner = operator(task_id="inner", script="sleep 60")
        with DAG("killed", schedule=None) as dag:
            Killed(
                task_id="train",
                inner=inner,
                when=lambda: [job.state for job in site.jobs()[before:]] == ["RUNNING"],
            )
        assert run_dag(dag).state == "failed"
        until(lambda: site.jobs()[-1].state == "CANCELLED")
        assert len(site.jobs()[before:]) == 1
        assert f"Slurm job {site.jobs()[-1].job_id} is cancelled." in "".join(capfd.readouterr())

    def test_a_task_that_is_killed_while_it_submits_leaves_no_job(self, site: Site) -> None:
        before = len(site.jobs())
        script = 'touch "$HOME/submitting"; sleep 6; exec /usr/bin/sbatch "$@"'
        inner = operator(task_id="inner", script="sleep 60")
        with DAG("killed_early", schedule=None) as dag:
            Killed(
                task_id="train",
                inner=inner,
                when=(site.home / "submitting").exists,
            )
        with site.hindered("sbatch", script):
            assert run_dag(dag).state == "failed"
            until(lambda: [job.state for job in site.jobs()[before:]] == ["CANCELLED"])

    def test_a_try_that_is_killed_while_it_looks_for_the_job_of_another_leaves_none(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Second(SlurmTask):
            """Stands for the try that follows one whose worker has died after the submission."""

            def _watch(self, hook: Any, job: Any) -> Any:
                del hook, job
                message = "the worker died"
                raise RuntimeError(message)

            def start(self) -> Any:
                with pytest.raises(RuntimeError, match="the worker died"):
                    super().start()
                self._own = None
                return super().start()

        let_tasks_be(monkeypatch, Second)
        before = len(site.jobs())
        inner = GPUClusterSlurmOperator(task_id="inner", cluster_id=CLUSTER, ssh_conn_id=CONNECTION, script="sleep 60")
        with DAG("killed_looking", schedule=None) as dag:
            Killed(task_id="train", inner=inner, when=(site.home / "looking").exists)
        with site.hindered("scontrol", 'touch ~/looking; sleep 3; exec /usr/bin/scontrol "$@"'):
            assert run_dag(dag).state == "failed"
        until(lambda: [job.state for job in site.jobs()[before:]] == ["CANCELLED"])

    def test_a_task_that_is_killed_while_it_ends_its_job_after_the_wait_leaves_none(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Late(SlurmTask):
            """Goes on after the triggerer has waited for too long."""

            def _watch(self, hook: Any, job: Any) -> Any:
                del hook
                self._own = None
                event = {"job_id": job.job_id, "attempt": 1, "state": "TIMED_OUT", "exit_code": None, "reason": ""}
                return self._operator.execute_complete(self._context, event)

        let_tasks_be(monkeypatch, Late)
        before = len(site.jobs())
        inner = GPUClusterSlurmOperator(task_id="inner", cluster_id=CLUSTER, ssh_conn_id=CONNECTION, script="sleep 60")
        with DAG("killed_late", schedule=None) as dag:
            Killed(task_id="train", inner=inner, when=(site.home / "cancelling").exists)
        script = '[ -e ~/cancelling ] && exec /usr/bin/scancel "$@"; touch ~/cancelling; sleep 5; exit 1'
        with site.hindered("scancel", script):
            assert run_dag(dag).state == "failed"
        until(lambda: [job.state for job in site.jobs()[before:]] == ["CANCELLED"])

    def test_a_task_that_is_killed_while_it_defers_leaves_no_job(
        self, site: Site, capfd: pytest.CaptureFixture[str]
    ) -> None:
        class Deferring(GPUClusterSlurmOperator):
            """Is killed when it has looked for the last time whether it was."""

            def defer(self, **given: Any) -> Any:
                self.on_kill()
                super().defer(**given)

        before = len(site.jobs())
        with DAG("killed_deferring", schedule=None) as dag:
            Deferring(
                task_id="train", cluster_id=CLUSTER, ssh_conn_id=CONNECTION, script="sleep 60", deferrable=True
            )  # fmt: skip
        assert run_dag(dag).state == "failed"
        until(lambda: [job.state for job in site.jobs()[before:]] == ["CANCELLED"])
        assert "task train was killed" in "".join(capfd.readouterr())

    def test_a_task_that_takes_longer_than_airflow_allows_leaves_no_job(self, site: Site) -> None:
        before = len(site.jobs())
        assert train(script="sleep 60", execution_timeout=timedelta(seconds=12)).state == "failed"
        until(lambda: [job.state for job in site.jobs()[before:]] == ["CANCELLED"])

    def test_a_wait_that_airflow_ends_without_an_event_leaves_no_job(
        self, site: Site, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        class Ended(SlurmTask):
            """Goes on as Airflow lets it when the triggerer has not answered in time."""

            def _watch(self, hook: Any, job: Any) -> Any:
                del hook, job
                return self._operator.resume_execution("__fail__", {"error": "Trigger timeout"}, self._context)

        let_tasks_be(monkeypatch, Ended)
        before = len(site.jobs())
        with DAG("ended", schedule=None) as dag:
            GPUClusterSlurmOperator(task_id="train", cluster_id=CLUSTER, ssh_conn_id=CONNECTION, script="sleep 60")
        assert run_dag(dag).state == "failed"
        until(lambda: [job.state for job in site.jobs()[before:]] == ["CANCELLED"])
        assert f"Slurm job {site.jobs()[-1].job_id} is cancelled." in "".join(capfd.readouterr())


@both_modes
def test_a_cluster_that_is_deleted_meanwhile_fails_the_task(
    site: Site,
    together: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    deferrable: bool,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("airflow_provider_together.jobs.slurm.flows.ASK_TOGETHER_EVERY", 0.0)
    cluster_id = TogetherHook().create_gpu_cluster(ClusterSpec.parse(SPEC)).cluster_id
    before = len(site.jobs())

    def strike() -> None:
        until(lambda: [job.state for job in site.jobs()[before:]] == ["RUNNING"])
        site.stop_server("login")
        TogetherHook().delete_gpu_cluster(cluster_id)
        together.advance(3600)

    try:
        run = with_another_thread(
            strike, lambda: train(script="sleep 30", cluster_id=cluster_id, deferrable=deferrable)
        )
    finally:
        site.start_server("login")
    assert run.state == "failed"
    assert "has ended CLUSTER_GONE: its cluster was deleted." in "".join(capfd.readouterr())


class TestHostKeys:
    @both_modes
    @pytest.mark.parametrize("name", ["host_key", "jump_host_key"])
    def test_a_host_with_another_key_is_not_entered(
        self, site: Site, name: str, deferrable: bool, capfd: pytest.CaptureFixture[str]
    ) -> None:
        before, jobs = site.logins("login"), len(site.jobs())
        run = train(
            script="true", **{name: site.host_key("other")}, deferrable=deferrable, retries=2, retry_delay=timedelta(0)
        )
        assert run.state == "failed"
        assert (site.logins("login"), len(site.jobs())) == (before, jobs)
        output = "".join(capfd.readouterr())
        assert f"set {name} to the host's public key, or known_hosts" in output
        assert "SHA256:" in output

    @both_modes
    def test_a_host_that_shows_another_key_while_its_job_runs_fails_the_try_and_a_retry_follows_the_job(
        self, site: Site, monkeypatch: pytest.MonkeyPatch, deferrable: bool, capfd: pytest.CaptureFixture[str]
    ) -> None:
        class Changing(SlurmTask):
            """Meets another key in its first try, in the worker as in the triggerer."""

            def _watch(self, hook: Any, job: Any) -> Any:
                if self._ti.try_number == 1:
                    self._background.start(hook.close()).result()  # type: ignore[union-attr]
                    hook.login_host.address = replace(hook.address, host_key=site.host_key("other"))
                return super()._watch(hook, job)

            def _defer(self, address: Any, job: Any, **details: Any) -> Any:
                if self._ti.try_number == 1:
                    address = replace(address, host_key=site.host_key("other"))
                super()._defer(address, job, **details)

        let_tasks_be(monkeypatch, Changing)
        before = len(site.jobs())
        with DAG("changing", schedule=None) as dag:
            GPUClusterSlurmOperator(
                task_id="train", cluster_id=CLUSTER, ssh_conn_id=CONNECTION, script="sleep 2", poll_interval=0.1,
                deferrable=deferrable, retries=1, retry_delay=timedelta(0),
            )  # fmt: skip
        assert run_dag(dag).state == "success"
        assert len(site.jobs()[before:]) == 1
        output = "".join(capfd.readouterr())
        assert "set host_key to the host's public key" in output
        assert "It goes on; a retry of this task follows it." in output

    def test_a_host_whose_key_nobody_has_given_is_not_entered(
        self, site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        connect(monkeypatch, site, host_key="", jump_host_key="")
        before = site.logins("jump")
        assert train(script="true").state == "failed"
        assert site.logins("jump") == before

    def test_a_file_of_known_hosts_is_enough(self, site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        connect(monkeypatch, site, host_key="", jump_host_key="")
        known = tmp_path / "known_hosts"
        ports = {"jump": site.jump_port, "login": site.login_port}
        known.write_text("".join(f"[127.0.0.1]:{port} {site.host_key(name)}\n" for name, port in ports.items()))
        assert train(script="true", known_hosts=str(known)).state == "success"

    @both_modes
    def test_the_first_key_is_accepted_where_the_user_says_so_and_is_the_one_from_there_on(
        self, site: Site, monkeypatch: pytest.MonkeyPatch, deferrable: bool
    ) -> None:
        accepted: list[str] = []

        class Changed(SlurmTask):
            """Fails in its first try, so that the second one has to know the hosts again."""

            def _conclude(self, hook: Any, job: Any, ending: Any) -> Any:
                accepted.append(f"{hook.address.host_key}, {hook.address.jump_host_key}")
                if self._ti.try_number == 1:
                    message = "the worker died"
                    raise RuntimeError(message)
                return super()._conclude(hook, job, ending)

        let_tasks_be(monkeypatch, Changed)
        connect(monkeypatch, site, host_key="accept-new", jump_host_key="accept-new")
        with DAG("accepted", schedule=None) as dag:
            GPUClusterSlurmOperator(
                task_id="train", cluster_id=CLUSTER, ssh_conn_id=CONNECTION, script="true", poll_interval=0.1,
                deferrable=deferrable, retries=1, retry_delay=timedelta(0),
            )  # fmt: skip
        assert run_dag(dag).state == "success"
        assert accepted == [f"{site.host_key('login')}, {site.host_key('jump')}"] * 2

    def test_a_connection_that_wants_no_check_is_refused(
        self, site: Site, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        connect(monkeypatch, site, no_host_key_check="true")
        assert train(script="true").state == "failed"
        assert "never entered unchecked" in "".join(capfd.readouterr())


@both_modes
def test_no_secret_is_seen_anywhere(
    site: Site, deferrable: bool, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    run = train(script="env", deferrable=deferrable)
    body = max(site.private_key.splitlines(), key=len)
    seen = ["".join(capfd.readouterr()), caplog.text, json.dumps(run.xcoms, default=str), *rows()]
    seen += [path.read_text() for path in site.home.rglob("*") if path.is_file()]
    assert run.state == "success"
    for secret in (PASSPHRASE, body):
        assert not any(secret in text for text in seen)


def rows() -> list[str]:
    """Return what Airflow has stored of triggers, rendered fields and tasks' storages."""
    from airflow.models.renderedtifields import RenderedTaskInstanceFields
    from airflow.models.task_state_store import TaskStateStoreModel
    from airflow.models.trigger import Trigger
    from airflow.utils.session import create_session

    with create_session() as session:
        return [
            repr({column.name: getattr(row, column.name, None) for column in model.__table__.columns})
            for model in (Trigger, RenderedTaskInstanceFields, TaskStateStoreModel)
            for row in session.query(model)
        ]


class Misled(GPUClusterSlurmOperator):
    """Gets an event that is none of ours."""

    def execute(self, context: Any) -> Any:
        return self.execute_complete(context, {"event": "odd"})


def test_an_event_that_is_none_of_ours_is_told(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    del site
    with DAG("misled", schedule=None) as dag:
        Misled(task_id="train", cluster_id=CLUSTER, ssh_conn_id=CONNECTION, script="true")
    assert run_dag(dag).state == "failed"
    assert "the trigger's event is not what this operator understands" in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "give script or script_file"),
        ({"script": "true", "script_file": "x"}, "give script or script_file"),
        ({"script": "true", "ssh_conn_id": None}, "login is missing"),
        ({"script": "true", "timeout": 0}, "timeout=0 is wrong"),
        ({"script": "true", "poll_interval": "often"}, "poll_interval='often' is wrong"),
        ({"script": "true", "get_logs": "perhaps"}, "get_logs='perhaps' is wrong"),
        ({"script": "true", "sbatch_options": {"job-name": "x"}}, "give job_name"),
        ({"script": "#!/bin/sh\n#SBATCH --array=1-9\n"}, "a job array is many jobs"),
        ({"script": "true", "output_path": "%N.log"}, "output_path='%N.log' is wrong"),
        ({"script": "true", "env": {"A-B": "1"}}, "no name of an environment variable"),
    ],
)
def test_a_wrong_parameter_is_told_when_the_dag_is_parsed(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        operator(**parameters)


def waiting_for(file: Path) -> str:
    """Return a script that runs until there is a file."""
    return f"until [ -e {file} ]; do sleep 0.1; done"


def with_another_thread(strike: Callable[[], None], act: Callable[[], Any]) -> Any:
    """Let something happen beside an action; what fails there fails the test."""
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            strike()
        except BaseException as error:  # noqa: BLE001 - handed on
            failures.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    try:
        return act()
    finally:
        thread.join()
        assert failures == []

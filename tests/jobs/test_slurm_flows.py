"""What is done with a Slurm job, program by program, at a login host that answers as a test wants, in its own time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import pytest

from airflow_provider_together.api.call import Alert, Flow, Note, Pause
from airflow_provider_together.api.client import drive
from airflow_provider_together.exceptions import (
    AnswerLostError,
    ConfigurationError,
    LoginRefusedError,
    MalformedAnswerError,
    OutcomeUnknownError,
    SpecError,
    TogetherError,
    WaitTimeoutError,
)
from airflow_provider_together.jobs.cluster import ClusterQuestion
from airflow_provider_together.jobs.slurm import flows, programs
from airflow_provider_together.jobs.slurm import job as slurm
from airflow_provider_together.jobs.slurm.flows import JobWatch, OutputLines, SlurmFlow
from airflow_provider_together.jobs.slurm.job import Ending, JobWait, Latest, Lines, SlurmJob
from airflow_provider_together.jobs.slurm.programs import RemoteProgram, Submission

T = TypeVar("T")

DIGEST = "abcdefgh234567ab"
JOB = SlurmJob(DIGEST, 2, "17")
WHAT = Submission("dag.train", "#!/bin/sh\n")
LOST = AnswerLostError("the login host slurm-login does not answer: refused")
#: Messages of Slurm's that may pass.
NO_NODES = "refused Requested node configuration is not available"
QUEUE_FULL = "refused sbatch: error: queue full"


def running(output: str = "", size: int = 0) -> str:
    return f"scontrol 0 JobName=x.{DIGEST}.2 JobState=RUNNING Reason=None ExitCode=0:0\noutput {size}\n{output}"


def completed(output: str = "") -> str:
    return running(output).replace("RUNNING", "COMPLETED")


@dataclass
class Site:
    """
    A login host.

    :param answers: to one program after the other, the last of them for ever; or the errors in their place.
    :param cluster_gone_at: from when on Together says that the cluster is deleted, in epoch seconds.
    """

    answers: list[str | TogetherError]
    cluster_gone_at: float = float("inf")
    now: float = 1000.0
    asked: list[str] = field(default_factory=list)
    questions: list[float] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    def run(self, flow: SlurmFlow[T]) -> T:
        return drive(cast("Flow[T]", flow), self._do)

    @property
    def told(self) -> list[str]:
        return [note.message for note in self.notes if note.message]

    @property
    def shown(self) -> list[str]:
        return [line for note in self.notes if isinstance(note, OutputLines) for line in note.lines]

    def _do(self, step: Any) -> Any:
        if isinstance(step, RemoteProgram):
            self.asked.append(step.command)
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if isinstance(answer, TogetherError):
                raise answer
            return step.read(f"airflow-together-answer\n{answer}".encode())
        if isinstance(step, Pause):
            self.now += step.seconds
            return self.now
        if isinstance(step, ClusterQuestion):
            self.questions.append(self.now)
            return self.now >= self.cluster_gone_at
        self.notes.append(step)
        return None


class TestSubmitting:
    def submit(self, site: Site, *, deadline: float = 1600.0, busy_deadline: float | None = None) -> SlurmJob:
        flow = flows.submit_job(
            SlurmJob(DIGEST, 2), WHAT, token="try-1", deadline=deadline, busy_deadline=busy_deadline
        )
        return site.run(flow)

    @pytest.mark.parametrize(
        ("answer", "message"),
        [
            ("job 17\nnew yes\n", "Slurm job 17 is submitted."),
            ("job 17\n", "Slurm job 17 is there already; going on with it."),
        ],
    )
    def test_a_job_is_submitted_or_found(self, answer: str, message: str) -> None:
        site = Site([answer])
        assert self.submit(site) == JOB
        assert site.told == [message]

    @pytest.mark.parametrize("trouble", [LOST, MalformedAnswerError("odd"), "trouble busy\n", QUEUE_FULL, NO_NODES])
    def test_what_may_pass_is_waited_for_with_pauses_that_grow(self, trouble: str | TogetherError) -> None:
        site = Site([trouble, trouble, trouble, "job 17\nnew yes\n"])
        assert self.submit(site) == JOB
        assert site.now == 1000 + 1 + 2 + 4
        assert [type(note) for note in site.notes] == [Alert, Alert, Alert, Note]

    @pytest.mark.parametrize("trouble", [LOST, "trouble busy\n", QUEUE_FULL])
    def test_not_for_ever(self, trouble: str | TogetherError) -> None:
        site = Site([trouble])
        with pytest.raises(WaitTimeoutError, match="could not be submitted in time; the last answer: "):
            self.submit(site)
        assert 1600 <= site.now <= 1600 + 30

    def test_room_in_the_queue_is_waited_for_longer(self) -> None:
        for trouble, end in ((QUEUE_FULL, 5000), ("trouble busy\n", 1600)):
            site = Site([trouble])
            with pytest.raises(WaitTimeoutError):
                self.submit(site, busy_deadline=5000.0)
            assert end <= site.now <= end + 30

    def test_nodes_that_never_come_are_a_refusal(self) -> None:
        site = Site([NO_NODES])
        with pytest.raises(SpecError, match="Slurm refuses the job: Requested node configuration"):
            self.submit(site)
        assert flows.NODES_PATIENCE <= site.now - 1000 <= flows.NODES_PATIENCE + 30

    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            ("refused Invalid account\n", SpecError),
            ("missing sbatch\n", ConfigurationError),
            ("cancelled yes\n", OutcomeUnknownError),
            ("cancelled yes\njob 17\nnew yes\n", OutcomeUnknownError),
            (LoginRefusedError("no"), LoginRefusedError),
        ],
    )
    def test_what_will_not_pass_is_told_at_once(self, answer: str | TogetherError, error: type[TogetherError]) -> None:
        site = Site([answer])
        with pytest.raises(error):
            self.submit(site)
        assert len(site.asked) == 1


class TestWatching:
    def watch(self, site: Site, *, deadline: float = 5000.0, lines: Lines | None = None) -> Ending:
        return site.run(flows.watch_job(JobWatch(JOB, JobWait(deadline=deadline), poll_interval=10.0, lines=lines)))

    def test_a_job_is_looked_at_until_it_has_ended(self) -> None:
        site = Site([running(), running(), completed()])
        assert self.watch(site) == Ending("COMPLETED", 0, "None")
        assert site.now == 1020
        assert site.told == ["Slurm job 17 is RUNNING.", "Slurm job 17 is COMPLETED."]

    def test_a_job_that_slurm_does_not_know_is_lost(self) -> None:
        site = Site(["scontrol 1 Invalid job id specified\noutput 0\n"])
        assert self.watch(site) == Ending(slurm.LOST)
        assert site.told == ["Slurm job 17 is unknown to Slurm."]

    def test_the_deadline_ends_the_wait_and_the_last_pause(self) -> None:
        site = Site([running()])
        assert self.watch(site, deadline=1015.0) == Ending(slurm.TIMED_OUT)
        assert site.now == 1015

    def test_no_outage_ends_it_and_together_is_asked_now_and_then(self) -> None:
        site = Site([LOST])
        assert self.watch(site, deadline=1400.0) == Ending(slurm.TIMED_OUT)
        assert len(site.questions) == 3
        assert site.told == [f"{LOST}; the job goes on, and so does the wait."]

    def test_a_cluster_that_is_deleted_ends_it(self) -> None:
        site = Site([running(), LOST], cluster_gone_at=0)
        assert self.watch(site) == Ending(slurm.CLUSTER_GONE)
        assert len(site.questions) == 1

    def test_each_outage_is_told_and_begins_with_short_pauses(self) -> None:
        site = Site([LOST, LOST, running(), LOST, completed()])
        assert self.watch(site).is_success
        assert site.now == 1000 + 1 + 2 + 10 + 1
        assert site.told.count("The login host answers again.") == 2

    def test_a_user_who_is_refused_from_the_first_hears_no_more_of_the_job(self) -> None:
        site = Site([LoginRefusedError("not let in")])
        assert self.watch(site) == Ending(slurm.UNREACHABLE, reason="not let in")

    def test_a_user_who_was_let_in_once_will_be_let_in_again(self) -> None:
        site = Site([running(), LoginRefusedError("not let in"), completed()])
        assert self.watch(site).is_success

    def test_a_host_with_another_key_is_not_entered_again(self) -> None:
        site = Site([running(), ConfigurationError("its key is not known")])
        assert self.watch(site) == Ending(slurm.UNREACHABLE, reason="its key is not known")

    def test_what_slurm_complains_of_is_told_once(self) -> None:
        down = "scontrol 1 Socket timed out\noutput 0\n"
        site = Site([down, down, running(), completed()])
        assert self.watch(site).is_success
        assert site.told[:2] == ["Slurm Socket timed out.", "Slurm job 17 is RUNNING."]
        assert site.told[2] == "Slurm answers again."

    def test_output_is_shown_in_whole_lines_and_to_its_end(self) -> None:
        site = Site([running("one\ntw"), running("two\n"), completed("end")])
        self.watch(site, lines=Lines())
        assert site.shown == ["one", "two", "end"]

    def test_no_output_is_no_note(self) -> None:
        site = Site([running(), completed()])
        self.watch(site, lines=Lines())
        assert not any(isinstance(note, OutputLines) for note in site.notes)

    def test_there_is_no_pause_while_there_is_more_output(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(programs, "OUTPUT_PIECE", 8)
        site = Site([running("one\ntwo\n"), running("x" * 8), completed("two\nsix\n"), completed("end\n")])
        self.watch(site, lines=Lines())
        assert site.now == 1000
        assert site.shown == ["one", "two", "x" * 8, "two", "six", "end"]

    @pytest.mark.parametrize(
        ("answer", "rest_seconds", "message"),
        [
            (completed("one\ntwo\n"), 0.0, "The rest of the output of Slurm job 17 is not shown: it is longer"),
            (LOST, 60.0, f"{LOST} The rest of the output of Slurm job 17 is not shown."),
        ],
    )
    def test_the_rest_of_the_output_does_not_hold_up_the_end(
        self, monkeypatch: pytest.MonkeyPatch, answer: str | TogetherError, rest_seconds: float, message: str
    ) -> None:
        monkeypatch.setattr(programs, "OUTPUT_PIECE", 8)
        monkeypatch.setattr(flows, "REST_SECONDS", rest_seconds)
        site = Site([completed("one\ntwo\n"), answer])
        assert self.watch(site, deadline=1000.0, lines=Lines()).is_success
        assert any(told.startswith(message) for told in site.told)

    def test_a_job_that_outlives_the_deadline_is_not_read_to_its_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(programs, "OUTPUT_PIECE", 8)
        site = Site([running("one\ntwo\n")])
        assert self.watch(site, deadline=1000.0, lines=Lines()) == Ending(slurm.TIMED_OUT)
        assert site.shown == ["one", "two"]


class TestAskingUntilThereIsAnAnswer:
    @pytest.mark.parametrize(
        ("flow", "answer", "result"),
        [
            (lambda deadline: flows.find_latest(DIGEST, deadline=deadline), "attempt 0\n", Latest()),
            (lambda deadline: flows.read_result(JOB, deadline=deadline), 'output 0\n{"a": 1}', {"a": 1}),
        ],
    )
    def test_a_lost_answer_is_asked_for_again(
        self, flow: Callable[[float], SlurmFlow[Any]], answer: str, result: Any
    ) -> None:
        site = Site([LOST, "", answer])
        assert site.run(flow(1600.0)) == result
        assert [type(note) for note in site.notes] == [Alert, Alert]
        with pytest.raises(AnswerLostError):
            Site([LOST]).run(flow(0.0))


class TestCancelling:
    def test_until_slurm_has_taken_it(self) -> None:
        site = Site([LOST, "trouble down\n", ConfigurationError("no"), "cancelled 17\n"])
        assert site.run(flows.cancel_job(JOB, deadline=1600.0)) == ""
        assert site.now == 1007

    def test_what_is_in_the_way_is_told(self) -> None:
        assert Site([LOST]).run(flows.cancel_job(JOB)) == str(LOST)
        assert Site(["trouble down\n"]).run(flows.cancel_job(JOB, deadline=1100.0)) == "down"


class TestConcluding:
    @pytest.mark.parametrize(("answer", "told"), [("concluded yes\n", []), (LOST, [str(LOST)])])
    def test_no_fault_of_it_matters(self, answer: str | TogetherError, told: list[str]) -> None:
        site = Site([answer])
        site.run(flows.conclude_job(JOB))
        assert site.told == told

"""What becomes of a Slurm job, by what Slurm and the job itself say of it; and what is sent to a login host."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_together.exceptions import MalformedAnswerError, SpecError
from airflow_provider_together.jobs.slurm import job as slurm
from airflow_provider_together.jobs.slurm import options as slurm_options
from airflow_provider_together.jobs.slurm import programs as slurm_programs
from airflow_provider_together.jobs.slurm.job import Ending, JobWait, Latest, Lines, Look, Record, SlurmJob, Standing
from airflow_provider_together.jobs.slurm.programs import RemoteProgram

DIGEST = "abcdefgh234567ab"
JOB = SlurmJob(DIGEST, 2, "17")
NAME = f"dag.train.{DIGEST}.2"

GONE = Standing("")
RUNNING = Standing("RUNNING")
PENDING = Standing("PENDING")
COMPLETED = Standing("COMPLETED", 0)


def shown(state: str, *, code: str = "0:0", reason: str = "None", name: str = NAME) -> str:
    """Return an answer of ``scontrol --oneliner show job``, shortened."""
    return (
        f"0 JobId=17 JobName={name} UserId=root(0) JobState={state} Reason={reason} Dependency=(null) "
        f"ExitCode={code} Comment=JobState=COMPLETED ExitCode=0:0"
    )


class TestNames:
    def test_all_tries_have_one_digest_and_each_cluster_and_deployment_another(self) -> None:
        assert slurm.job_digest("c-1", "prod", "owner") == slurm.job_digest("c-1", "prod", "owner")
        others = {
            slurm.job_digest(*parts) for parts in (("c-1", "prod", "x"), ("c-2", "prod", "x"), ("c-1", "test", "x"))
        }
        assert len(others) == 3
        assert slurm.job_digest("c-1p", "rod", "x") != slurm.job_digest("c-1", "prod", "x")

    @pytest.mark.parametrize(
        ("words", "name"),
        [
            ("dag.train", f"dag.train.{DIGEST}.2"),
            ("my dag, über; $(x)", f"my-dag-ber-x.{DIGEST}.2"),
            ("…", f"job.{DIGEST}.2"),
            ("x" * 300, f"{'x' * 80}.{DIGEST}.2"),
        ],
    )
    def test_a_name_is_made_of_what_slurm_finds_again(self, words: str, name: str) -> None:
        assert slurm.job_name(words, JOB) == name

    def test_a_job_is_called_by_its_id_once_it_has_one(self) -> None:
        assert [str(JOB), str(SlurmJob(DIGEST, 2))] == ["Slurm job 17", "Slurm job (attempt 2)"]

    @pytest.mark.parametrize("text", ["", "0", "-1", "1 2", "17;scancel", "\uff11\uff17", "a"])
    def test_what_is_no_id_is_not_asked_for(self, text: str) -> None:
        assert not slurm.is_job_id(text)
        assert slurm.is_job_id("17")


class TestWhatSlurmSays:
    @pytest.mark.parametrize(
        ("answer", "standing"),
        [
            (shown("RUNNING"), Standing("RUNNING", 0, "None")),
            (shown("FAILED", code="7:0", reason="NonZeroExitCode"), Standing("FAILED", 7, "NonZeroExitCode")),
            (shown("FAILED", code="0:9"), Standing("FAILED", 137, "None")),
            (shown("TIMEOUT", code="0:15", reason="TimeLimit"), Standing("TIMEOUT", 143, "TimeLimit")),
            (shown("RUNNING", code="?"), Standing("RUNNING", None, "None")),
            (shown("RUNNING", name="somebody.else"), GONE),
            ("0 ", None),
            ("1 slurm_load_jobs error: Invalid job id specified", GONE),
            ("1 slurm_load_jobs error: Unable to contact slurm controller (connect failure)", None),
            ("124 ", None),
            ("", None),
        ],
    )
    def test_an_answer_of_scontrol(self, answer: str, standing: Standing | None) -> None:
        assert slurm.read_standing(answer, JOB) == standing

    @pytest.mark.parametrize(
        ("answer", "standing"),
        [
            ("0 COMPLETED|0:0", Standing("COMPLETED", 0)),
            ("0 CANCELLED by 1000|0:15", Standing("CANCELLED", 143)),
            ("0 CANCELLED+|0:0", Standing("CANCELLED", 0)),
            ("0 ", None),
            ("1 Slurm accounting storage is disabled", None),
            ("127 sacct: not found", None),
        ],
    )
    def test_an_answer_of_sacct(self, answer: str, standing: Standing | None) -> None:
        assert slurm.read_account(answer) == standing

    @pytest.mark.parametrize(
        ("text", "record"),
        [
            ("0 none", Record(0)),
            ("7 none", Record(7)),
            ("143 TERM", Record(143, "TERM")),
            ("", None),
            ("7", None),
            ("x y", None),
            ("1000 none", None),
        ],
    )
    def test_a_record_of_the_job_itself(self, text: str, record: Record | None) -> None:
        assert slurm.read_record(text) == record

    def test_an_unknown_state_is_told_once_and_waited_for(self, caplog: pytest.LogCaptureFixture) -> None:
        for _ in range(3):
            standing = slurm.read_standing(shown("MEDITATING"), JOB)
            assert standing is not None
            assert not standing.is_final
        assert caplog.text.count("MEDITATING") == 1

    def test_unknown_states_do_not_fill_the_memory(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(slurm, "_reported", set(map(str, range(100))))
        slurm.read_standing(shown("CONTEMPLATING"), JOB)
        assert caplog.text == ""

    @pytest.mark.parametrize(
        ("message", "is_outage"),
        [
            ("sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)", True),
            ("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation", True),
            ("sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: Job violates", True),
            ("sbatch: error: QOSMaxSubmitJobPerUserLimit", True),
            ("sbatch: error: Batch job submission failed: queue full", True),
            ("slurm_load_jobs error: Unable to contact slurm controller (connect failure)", True),
            ("slurm_load_jobs error: Access/permission denied", False),
            ("sbatch: error: Batch job submission failed: Access/permission denied", False),
            ("sbatch: error: Batch job submission failed: User's group not permitted to use this partition", False),
            ("sbatch: error: Batch job submission failed: Invalid partition name specified", False),
        ],
    )
    def test_a_refusal_is_told_from_an_outage(self, message: str, is_outage: bool) -> None:
        assert slurm.is_outage(message) is is_outage

    def test_a_refusal_for_want_of_nodes_may_pass(self) -> None:
        assert slurm.is_about_nodes("Batch job submission failed: Requested node configuration is not available")
        assert not slurm.is_about_nodes("Invalid account")


class TestEnding:
    @pytest.mark.parametrize(
        ("look", "ending"),
        [
            (Look(COMPLETED), Ending("COMPLETED", 0)),
            (Look(COMPLETED, Record(0)), Ending("COMPLETED", 0)),
            (Look(Standing("COMPLETED", 3)), Ending("FAILED", 3)),
            (Look(Standing("FAILED", 7, "NonZeroExitCode")), Ending("FAILED", 7, "NonZeroExitCode")),
            # A script that was asked to end may say that all is well: Slurm has the last word.
            (Look(Standing("CANCELLED", 0), Record(0, "TERM")), Ending("CANCELLED", 0)),
            (Look(Standing("CANCELLED", 0), Record(0)), Ending("CANCELLED", 0)),
            (Look(Standing("TIMEOUT", 0), Record(143, "TERM")), Ending("TIMEOUT", 143)),
            (Look(Standing("NODE_FAIL")), Ending("NODE_FAIL")),
            (Look(GONE, Record(0)), Ending("COMPLETED", 0)),
            (Look(GONE, Record(7)), Ending("FAILED", 7, "NonZeroExitCode")),
            (Look(GONE, Record(0, "TERM")), Ending("FAILED", 0, "SignalTERM")),
            (Look(GONE), None),
            (Look(RUNNING), None),
            (Look(RUNNING, Record(0)), None),
            (Look(PENDING, Record(143, "TERM")), None),
            (Look(None), None),
            (Look(None, Record(0)), None),
        ],
    )
    def test_one_look_is_enough_where_somebody_knows(self, look: Look, ending: Ending | None) -> None:
        assert slurm.ending_of(look) == ending

    @pytest.mark.parametrize(
        "state",
        [
            "BOOT_FAIL", "CANCELLED", "DEADLINE", "FAILED", "LAUNCH_FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED",
            "RECONFIG_FAIL", "REVOKED", "TIMEOUT",
        ],
    )  # fmt: skip
    def test_each_final_state_but_one_is_a_failure_in_slurms_own_word(self, state: str) -> None:
        ending = slurm.ending_of(Look(Standing(state, 0), Record(0)))
        assert ending is not None
        assert not ending.is_success
        assert ending.sentence("17").startswith(f"Slurm job 17 has ended {state} (exit code 0)")

    @pytest.mark.parametrize("state", ["PENDING", "RUNNING", "COMPLETING", "SUSPENDED", "CONFIGURING", "REQUEUED"])
    def test_no_other_state_is_final(self, state: str) -> None:
        assert slurm.ending_of(Look(Standing(state, 0))) is None

    @pytest.mark.parametrize(
        ("ending", "sentence"),
        [
            (Ending("COMPLETED", 0, "None"), "Slurm job 17 has ended COMPLETED (exit code 0)."),
            (
                Ending("OUT_OF_MEMORY", 1, "OutOfMemory"),
                (
                    "Slurm job 17 has ended OUT_OF_MEMORY (exit code 1, reason OutOfMemory): it used more memory than "
                    "it had been given; the options mem and mem-per-gpu give more."
                ),
            ),
            (
                Ending(slurm.LOST),
                "Slurm job 17 has ended LOST: Slurm does not know it any more, and it has left no exit code.",
            ),
        ],
    )
    def test_the_end_is_told_in_a_sentence(self, ending: Ending, sentence: str) -> None:
        assert ending.sentence("17") == sentence


class TestWaiting:
    def test_running_goes_on_until_the_deadline(self) -> None:
        wait = JobWait(deadline=1000.0)
        assert wait.on_look(Look(RUNNING), now=0.0) is None
        assert wait.on_look(Look(RUNNING), now=999.9) is None
        assert wait.on_look(Look(RUNNING), now=1000.0) == Ending(slurm.TIMED_OUT)

    def test_no_outage_ends_it_before_the_deadline(self) -> None:
        wait = JobWait(deadline=1e6)
        assert [wait.on_nothing(now=now) for now in (0.0, 5e5)] == [None, None]
        assert wait.on_look(Look(None), now=6e5) is None
        assert wait.on_nothing(now=1e6) == Ending(slurm.TIMED_OUT)

    def test_an_end_that_is_seen_after_the_deadline_is_an_end(self) -> None:
        assert JobWait(deadline=10.0).on_look(Look(COMPLETED), now=20.0) == Ending("COMPLETED", 0)

    @pytest.mark.parametrize("standing", [RUNNING, Standing("COMPLETING"), None])
    def test_a_record_counts_alone_once_slurm_had_its_time(self, standing: Standing | None) -> None:
        wait, look = JobWait(deadline=1e6), Look(standing, Record(0))
        assert wait.on_look(look, now=0.0) is None
        assert wait.on_look(look, now=slurm.RECORD_PATIENCE - 1) is None
        assert wait.on_look(look, now=slurm.RECORD_PATIENCE) == Ending("COMPLETED", 0)

    def test_the_record_of_a_former_run_does_not_count_while_the_job_waits_to_run_again(self) -> None:
        wait = JobWait(deadline=1e6)
        assert wait.on_look(Look(RUNNING, Record(143, "TERM")), now=0.0) is None
        for now in (50.0, 1e5):
            assert wait.on_look(Look(PENDING, Record(143, "TERM")), now=now) is None
        assert wait.on_look(Look(RUNNING, Record(143, "TERM")), now=1e5 + 1) is None
        assert wait.on_look(Look(RUNNING), now=1e5 + 2) is None

    def test_a_job_is_lost_if_it_does_not_turn_up(self) -> None:
        wait = JobWait(deadline=1e6)
        assert wait.on_look(Look(GONE), now=0.0) is None
        assert wait.on_look(Look(GONE), now=slurm.LOST_PATIENCE) == Ending(slurm.LOST)

    def test_a_job_that_turns_up_again_is_not_lost(self) -> None:
        wait = JobWait(deadline=1e6)
        for now, standing in enumerate([GONE, RUNNING, GONE, None, GONE]):
            assert wait.on_look(Look(standing), now=now * (slurm.LOST_PATIENCE - 1)) is None


class TestWhichJobToFollow:
    @pytest.mark.parametrize(
        ("latest", "follows", "next_attempt"),
        [
            (Latest(), False, 1),
            (Latest(2), False, 2),
            (Latest(2, "17"), True, 3),
            (Latest(2, "17", look=Look(RUNNING)), True, 3),
            (Latest(2, "17", look=Look(None)), True, 3),
            (Latest(2, "17", look=Look(COMPLETED)), True, 3),
            (Latest(2, "17", look=Look(GONE, Record(0))), True, 3),
            (Latest(2, "17", look=Look(Standing("FAILED", 7))), False, 3),
            (Latest(2, "17", look=Look(GONE, Record(7))), False, 3),
            (Latest(2, "17", look=Look(GONE)), False, 3),
            (Latest(2, "17", is_concluded=True, look=Look(COMPLETED)), False, 3),
            (Latest(2, "17", is_concluded=True, look=Look(RUNNING)), False, 3),
            (Latest(2, is_concluded=True), False, 3),
        ],
    )
    def test_by_the_latest_attempt(self, latest: Latest, follows: bool, next_attempt: int) -> None:
        job = latest.job_to_follow(DIGEST)
        assert job == (JOB if follows else None)
        assert latest.next_job(DIGEST) == SlurmJob(DIGEST, next_attempt)

    def test_what_airflow_remembers_to_have_told_counts_as_well(self) -> None:
        latest = Latest(2, "17", look=Look(COMPLETED))
        assert latest.job_to_follow(DIGEST, concluded=1) == JOB
        assert latest.job_to_follow(DIGEST, concluded=2) is None
        assert latest.next_job(DIGEST, concluded=2).attempt == 3
        assert Latest().next_job(DIGEST, concluded=2).attempt == 3


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (None, []),
            ({"nodes": 2, "gpus-per-node": 8}, ["--nodes=2", "--gpus-per-node=8"]),
            ({"gpus_per_node": 8, "N": 2, "--time": "1:00"}, ["--gpus-per-node=8", "-N2", "--time=1:00"]),
            ({"exclusive": True, "requeue": False, "mem": None, "O": True}, ["--exclusive", "-O"]),
            (["--nodes=2", "-p", "gpu"], ["--nodes=2", "-p", "gpu"]),
        ],
    )
    def test_they_become_words_of_a_command_line(self, options: Any, words: list[str]) -> None:
        assert slurm_options.option_words(options) == words

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"job-name": "x"}, "give job_name"),
            (["-J", "x"], "give job_name"),
            ({"output": "x"}, "give output_path"),
            ({"array": "1-9"}, "a job array is many jobs"),
            ({"wrap": "true"}, "give script"),
            (["--"], "no option of sbatch"),
            ([""], "no option of sbatch"),
            ([None], "no option of sbatch"),
            ({"comment --nodes": "x"}, "no option of sbatch"),
            ({"comment": "a\nb"}, "line end"),
            (["--comment=a\nb"], "line end"),
            (["--comment --nodes=2"], "no option of sbatch"),
            ({"nodes": [1, 2]}, "give text or a number"),
            (["--arr=1-2"], "a job array is many jobs"),
            ("--nodes=2", "give a dictionary"),
        ],
    )
    def test_those_that_are_ours_are_refused(self, options: Any, message: str) -> None:
        with pytest.raises(SpecError, match=message):
            slurm_options.option_words(options)

    def test_the_lines_of_the_script_go_to_slurm_as_they_are(self) -> None:
        script = "#!/bin/sh\n# words\n\n#SBATCH --nodes=2 -o x.log\n#SBATCH -J name\necho\n"
        assert slurm_options.batch_lines(script) == ["#SBATCH --nodes=2 -o x.log", "#SBATCH -J name"]

    @pytest.mark.parametrize(
        "line", ["#SBATCH hetjob", "#SBATCH --array=1-9", "#SBATCH --arr=1-9", "#SBATCH -a1-9", "#SBATCH -N 1 --wait"]
    )
    def test_lines_that_ask_for_what_cannot_be_are_refused(self, line: str) -> None:
        with pytest.raises(SpecError, match="script: "):
            slurm_options.batch_lines(f"#!/bin/sh\n{line}\n")

    @pytest.mark.parametrize(
        ("script", "runnable"),
        [
            ("echo", "#!/bin/bash\necho\n"),
            ("#!/bin/sh\r\necho\r\n", "#!/bin/sh\necho\n"),
            ("#!/bin/sh\r\r\necho\n", "#!/bin/sh\necho\n"),
            ("#!/bin/sh\recho\r", "#!/bin/sh\necho\n"),
            ("#!/bin/sh\nprintf '\r'\n", "#!/bin/sh\nprintf '\r'\n"),
            ("\ufeff#!/bin/sh\necho\n", "#!/bin/sh\necho\n"),
            ("\ufeff\r\n  \r\n#!/bin/sh\r\necho\r\n", "#!/bin/sh\necho\n"),
            (
                "\n    #!/bin/sh\n    if true; then\n        echo\n    fi\n    ",
                "#!/bin/sh\nif true; then\n    echo\nfi\n",
            ),
            ("\n    echo\n\n    exit\n", "#!/bin/bash\necho\n\nexit\n"),
            ("#!/bin/sh\n\tcat <<EOF\n\t\ttext\n\tEOF\n", "#!/bin/sh\ncat <<EOF\n\ttext\nEOF\n"),
            ("#!/bin/sh\n\n  echo\nexit\n", "#!/bin/sh\n\n  echo\nexit\n"),
            ("   #!/bin/sh\necho\n", "#!/bin/sh\necho\n"),
        ],
    )
    def test_a_script_becomes_a_file_that_runs_whatever_it_comes_from(self, script: str, runnable: str) -> None:
        assert slurm_options.runnable(script) == runnable
        assert slurm_options.runnable(runnable) == runnable

    @pytest.mark.parametrize(
        "changed",
        [
            lambda script: script.replace("\n", "\r\n"),
            lambda script: script.replace("\n", "\r"),
            lambda script: script.replace("2\n", "2\r\n"),
            lambda script: script.replace("x\n", "x\r"),
            lambda script: f"\ufeff{script}",
            lambda script: f"\n{script}",
            lambda script: script.replace("#!/bin/sh\n", ""),
            lambda script: script.replace("\n", "\n    "),
            lambda script: f"\n    {script}".replace("\n", "\n    "),
            lambda script: script.replace("\n#", "\n  \t#"),
        ],
    )
    def test_no_spelling_of_a_script_loses_its_lines_for_slurm(self, changed: Callable[[str], str]) -> None:
        script = changed("#!/bin/sh\n# x\n#SBATCH --nodes=2\n\n#SBATCH --time=5\necho\n")
        assert slurm_options.batch_lines(slurm_options.runnable(script)) == ["#SBATCH --nodes=2", "#SBATCH --time=5"]

    @pytest.mark.parametrize(
        "script",
        [
            "#!/bin/sh\nset -e\n#SBATCH --nodes=2\n",
            "#!/bin/sh\nset -e\r#SBATCH --nodes=2\n",
            "set -e\n  #SBATCH --nodes=2\n",
            "#!/bin/sh\nset -e; cat <<\\EOF >x\nEOF\n#SBATCH --nodes=2\n",
            "#!/bin/sh\nset -e; cat <<<EOF\n#SBATCH --nodes=2\n",
            "#!/bin/sh\nset -e; echo $((1<<2))\n#SBATCH --nodes=2\n",
        ],
    )
    def test_a_line_that_slurm_would_ignore_is_refused(self, script: str) -> None:
        message = r"script: '#SBATCH --nodes=2' is wrong: Slurm ignores what stands behind the first command, 'set -e"
        with pytest.raises(SpecError, match=message):
            slurm_options.batch_lines(script)

    def test_a_script_may_write_another_batch_script(self) -> None:
        script = "#!/bin/sh\n#SBATCH -N2\ncat <<-'EOF' >x\n#!/bin/sh\n#SBATCH -N1\n\tEOF\necho\n"
        assert slurm_options.batch_lines(script) == ["#SBATCH -N2"]

    @pytest.mark.parametrize("script", ["# words\n#!/usr/bin/env python3\n", "#SBATCH -N2\n #!/bin/sh\n"])
    def test_a_first_line_that_is_not_the_first_is_refused(self, script: str) -> None:
        with pytest.raises(SpecError, match="what runs the script is said in its first line"):
            slurm_options.batch_lines(slurm_options.runnable(script))

    def test_a_first_line_that_holds_another_is_refused(self) -> None:
        with pytest.raises(SpecError, match=r"its first line, .* carriage return"):
            slurm_options.runnable("#!/bin/sh\r#SBATCH --nodes=2\necho\n")

    @pytest.mark.parametrize("script", ["", " \n", "a\0b"])
    def test_an_empty_script_is_refused(self, script: str) -> None:
        with pytest.raises(SpecError, match="script is wrong"):
            slurm_options.runnable(script)

    def test_of_slurms_patterns_the_jobs_id_alone_is_known(self) -> None:
        assert slurm_options.log_pattern(None) == ""
        assert slurm_options.log_pattern("logs/%j.txt") == "logs/%j.txt"
        for path in ("%N", "%%", "a\\b", "a\nb"):
            with pytest.raises(SpecError, match="output_path"):
                slurm_options.log_pattern(path)

    @pytest.mark.parametrize(
        ("env", "options", "message"),
        [
            ({"A B": "1"}, [], "no name of an environment variable"),
            ({"A": "\0"}, [], "zero byte"),
            ({"A": "1"}, ["--export=NONE"], "exclude each other"),
            ({1: "1"}, [], "no name of an environment variable"),
            ({"A": None}, [], "give text or a number"),
            ({"A": ["1"]}, [], "give text or a number"),
            ({"SBATCH_ARRAY_INX": "1-2"}, [], "would change what sbatch does"),
            ({"SLURM_CONF": "/etc/other"}, [], "would change what sbatch does"),
            ({"PPID": "1"}, [], "would not reach the script"),
            ({"TOGETHER_RESULT_PATH": "x"}, [], "would not reach the script"),
            (["A=1"], [], "give a dictionary"),
        ],
    )
    def test_an_environment_that_the_job_would_not_get_is_refused(
        self, env: Any, options: list[str], message: str
    ) -> None:
        with pytest.raises(SpecError, match=message):
            slurm_options.checked_environment(env, options)

    def test_an_environment_is_text(self) -> None:
        assert slurm_options.checked_environment({"A": 1}, ["--export=ALL,B=2"]) == {"A": "1"}
        assert slurm_options.checked_environment(None, ["--export=NONE"]) == {}


class TestOutput:
    def test_lines_are_shown_once_they_are_whole(self) -> None:
        lines = Lines()
        assert lines.take(b"one\ntw") == ["one"]
        assert lines.offset == 4
        assert lines.take(b"two\nthr\xc3") == ["two"]
        assert lines.take("thrü".encode(), is_all=True) == ["thrü"]
        assert lines.offset == 13


class TestPrograms:
    """The programs are run by a real shell, where Slurm is played by functions that say what is written for them."""

    def run(self, program: RemoteProgram[Any], home: Path, **commands: str) -> bytes:
        usual = {"sbatch": "exit 9", "squeue": "exit 0", "scontrol": "exit 1", "scancel": "exit 1"}
        return self.run_with_path(program.text, home, "/usr/bin:/bin", **{**usual, **commands})

    def run_without_slurm(self, program: RemoteProgram[Any], home: Path, **commands: str) -> bytes:
        """Run a program where there are none of Slurm's commands but those that are given."""
        return self.run_with_path(
            program.text.replace(". /etc/profile", ":"), home, self.without_slurm(home), **commands
        )

    def run_with_path(self, program: str, home: Path, path: str, **commands: str) -> bytes:
        folder = home / "bin"
        self.write(folder, **commands)
        environment = {"HOME": str(home), "PATH": f"{folder}:{path}"}
        done = subprocess.run(
            ["/bin/sh"], input=program.encode(), env=environment, capture_output=True, timeout=60, check=True
        )
        return done.stdout

    def write(self, folder: Path, **commands: str) -> None:
        folder.mkdir(exist_ok=True)
        for name, script in commands.items():
            (folder / name).write_text(f"#!/bin/sh\n{script}\n")
            (folder / name).chmod(0o755)

    def without_slurm(self, home: Path) -> str:
        """Return a folder with the usual commands, but none of a Slurm that is installed on this machine."""
        folder = home / "usual"
        folder.mkdir()
        usual = "cat chmod env flock grep head id ls mkdir mv rm sed sh sort tail timeout touch tr wc"
        for name in usual.split():
            found = shutil.which(name, path="/usr/bin:/bin")
            assert found is not None
            (folder / name).symlink_to(found)
        return str(folder)

    def submit(
        self, home: Path, job: SlurmJob = JOB, env: Mapping[str, str] | None = None, **commands: str
    ) -> slurm_programs.Submitted:
        what = slurm_programs.Submission(
            "dag.train", '#!/bin/sh\necho "it\'s"\n', ["#SBATCH -N 2"], ["--time=1"], env or {"A": "b'c"}
        )
        program = slurm_programs.submit(SlurmJob(job.digest, job.attempt), what, token="try-1")
        return slurm_programs.read_submitted(self.run(program, home, **commands))

    def folder(self, home: Path) -> Path:
        return home / f".airflow-together/{DIGEST}/2"

    def test_a_job_is_submitted_once(self, tmp_path: Path) -> None:
        sbatch = 'printf "%s\\n" "$@" "A=$A" >>"$HOME/asked"; echo 17'
        assert self.submit(tmp_path, sbatch=sbatch) == slurm_programs.Submitted("17", is_new=True)
        assert self.submit(tmp_path, sbatch=sbatch) == slurm_programs.Submitted("17")
        folder = self.folder(tmp_path)
        assert (tmp_path / "asked").read_text().splitlines() == [
            "--time=1",
            "--parsable",
            f"--job-name=dag.train.{DIGEST}.2",
            "--open-mode=append",
            f"--output={folder}/output.log",
            f"--error={folder}/output.log",
            f"{folder}/batch",
            f"{folder}",
            "A=b'c",
        ]
        assert (folder / "script").read_text() == '#!/bin/sh\necho "it\'s"\n'
        assert (folder / "batch").read_text().startswith("#!/bin/sh\n#SBATCH -N 2\n")
        assert tmp_path.joinpath(".airflow-together").stat().st_mode & 0o777 == 0o700

    def test_the_environment_of_the_job_changes_nothing_in_the_program(self, tmp_path: Path) -> None:
        names = (
            "timeout",
            "sbatch",
            "base",
            "key",
            "answer",
            "job",
            "output",
            "attempt",
            "cancelled",
            "options",
            "PATH",
        )
        sbatch = 'PATH=/usr/bin:/bin; printf "%s " "$timeout" "$sbatch" "$key" >"$HOME/asked"; echo 17'
        submitted = self.submit(tmp_path, env=dict.fromkeys(names, "/nowhere"), sbatch=sbatch)
        assert submitted == slurm_programs.Submitted("17", is_new=True)
        assert (tmp_path / "asked").read_text() == "/nowhere /nowhere /nowhere "
        assert self.submit(tmp_path, sbatch="exit 9") == slurm_programs.Submitted("17")

    def test_no_value_breaks_out_of_the_program(self, tmp_path: Path) -> None:
        odd = """it's "$HOME" `touch "$HOME/out"` $(touch "$HOME/out") \\\n;touch "$HOME/out"\n' EOF }\n"""
        what = slurm_programs.Submission("x", f"#!/bin/sh\n{odd}", options=[odd], env={"A": odd}, output=f"/x{odd}")
        job = SlurmJob(DIGEST, 2, odd)
        sbatch = """printf '%s\\0' "$@" "$A" >"$HOME/asked"; echo 17"""
        self.run(slurm_programs.submit(job, what, token=f"x{odd}"), tmp_path, sbatch=sbatch)
        for program in (
            slurm_programs.look(job, offset=0),
            slurm_programs.cancel(job, token="try-1"),
            slurm_programs.find(odd),
        ):
            self.run(program, tmp_path)
        asked = (tmp_path / "asked").read_text().split("\0")
        assert [asked[0], asked[4], asked[-2]] == [odd, f"--output=/x{odd}", odd]
        assert (self.folder(tmp_path) / "script").read_text() == f"#!/bin/sh\n{odd}"
        assert not (tmp_path / "out").exists()

    def test_a_program_that_was_cut_off_on_the_way_does_not_run(self, tmp_path: Path) -> None:
        what = slurm_programs.Submission("x", "#!/bin/sh\n", options=["--nodes=2"], env={"A": "1"})
        text = slurm_programs.submit(JOB, what, token="x").text
        self.write(tmp_path / "bin", sbatch='touch "$HOME/asked"; echo 17', squeue="exit 0")
        call = text.index("\nmain ")
        for end in [*range(call, text.index("}", text.index("--nodes")), 7), text.index(" --nodes"), len(text) // 2]:
            environment = {"HOME": str(tmp_path), "PATH": f"{tmp_path}/bin:/usr/bin:/bin"}
            subprocess.run(["/bin/sh"], input=text[:end].encode(), env=environment, capture_output=True, check=False)
        assert not (tmp_path / ".airflow-together").exists()

    def test_what_a_program_carries_is_not_shown_with_it(self) -> None:
        what = slurm_programs.Submission("x", "#!/bin/sh\n", env={"TOKEN": "hidden"})
        assert "hidden" not in repr(slurm_programs.submit(JOB, what, token="x"))

    def test_a_federated_answer_holds_the_id_before_the_cluster(self, tmp_path: Path) -> None:
        assert self.submit(tmp_path, sbatch="echo '17;tests'").job_id == "17"

    def test_a_job_that_slurm_has_under_this_name_is_the_one(self, tmp_path: Path) -> None:
        rows = [f"16 None {NAME}", f"18 BadConstraints {NAME}", f"19 None {NAME}1", f"20 None x{DIGEST}.2"]
        squeue = "\n".join(f"echo '{row}'" for row in rows)
        assert self.submit(tmp_path, squeue=squeue) == slurm_programs.Submitted("16")
        assert (self.folder(tmp_path) / "job_id").read_text() == "16\n"

    def test_nothing_is_submitted_where_slurm_cannot_be_asked_for_it(self, tmp_path: Path) -> None:
        submitted = self.submit(tmp_path, squeue="echo >&2 down; exit 1", sbatch='touch "$HOME/asked"; echo 17')
        assert submitted == slurm_programs.Submitted(trouble="down")
        assert not (tmp_path / "asked").exists()

    def test_a_refusal_is_told_in_slurms_words(self, tmp_path: Path) -> None:
        assert self.submit(tmp_path, sbatch="echo >&2 no; exit 1").refusal == "no"

    def test_slurms_words_forge_no_line(self, tmp_path: Path) -> None:
        sbatch = r"printf 'no\033[2Jall is well' >&2; exit 1"
        assert self.submit(tmp_path, sbatch=sbatch).refusal == "no\ufffd[2Jall is well"

    @pytest.mark.parametrize("sbatch", ["exit 124", "exit 0", "echo odd"])
    def test_an_answer_that_says_nothing_leads_to_another_look(self, tmp_path: Path, sbatch: str) -> None:
        submitted = self.submit(tmp_path, sbatch=sbatch)
        assert submitted.trouble
        assert not submitted.job_id

    def test_a_try_that_was_cancelled_submits_nothing(self, tmp_path: Path) -> None:
        cancelled = self.run(slurm_programs.cancel(SlurmJob(DIGEST, 2), token="try-1"), tmp_path)
        assert slurm_programs.read_trouble(cancelled) == ""
        submitted = self.submit(tmp_path, sbatch='touch "$HOME/asked"; echo 17')
        assert submitted.is_cancelled
        assert not (tmp_path / "asked").exists()

    def test_a_try_that_is_cancelled_while_it_submits_cancels_its_job(self, tmp_path: Path) -> None:
        sbatch = f'touch "$HOME/.airflow-together/{DIGEST}/cancelled.try-1"; echo 17'
        submitted = self.submit(tmp_path, sbatch=sbatch, scancel='echo "$1" >"$HOME/cancelled"')
        assert submitted == slurm_programs.Submitted("17", is_new=True, is_cancelled=True)
        assert (tmp_path / "cancelled").read_text() == "17\n"

    def test_a_job_whose_id_was_never_told_is_cancelled_by_its_name(self, tmp_path: Path) -> None:
        cancel = slurm_programs.cancel(SlurmJob(DIGEST, 2))
        commands = {"squeue": f"echo '16 None x.{DIGEST}.1'; echo '17 None x.{DIGEST}.2'"}
        answer = self.run(cancel, tmp_path, scancel='echo "$1" >"$HOME/cancelled"', **commands)
        assert slurm_programs.read_trouble(answer) == ""
        assert (tmp_path / "cancelled").read_text() == "17\n"

    def test_the_latest_job_is_cancelled_where_nobody_knows_which_it_is(self, tmp_path: Path) -> None:
        for attempt in (9, 10):
            self.submit(tmp_path, SlurmJob(DIGEST, attempt), sbatch=f"echo {attempt}7")
        cancelled = tmp_path / "cancelled"
        # In the first its end was told already; in the last it is cancelled already.
        for concluded, seen in ((10, ""), (9, "107\n"), (0, "107\n")):
            cancel = slurm_programs.cancel(SlurmJob(DIGEST, 0), concluded=concluded)
            answer = self.run(cancel, tmp_path, scancel='echo "$1" >>"$HOME/cancelled"')
            assert slurm_programs.read_trouble(answer) == ""
            assert (cancelled.read_text() if cancelled.exists() else "") == seen

    def test_the_latest_job_is_cancelled_by_its_name_too(self, tmp_path: Path) -> None:
        self.submit(tmp_path, sbatch="exit 124")
        squeue = f"echo '16 None x.{DIGEST}.1'; echo '17 None x.{DIGEST}.2'"
        cancel = slurm_programs.cancel(SlurmJob(DIGEST, 0), token="try-1")
        self.run(cancel, tmp_path, squeue=squeue, scancel='echo "$1" >"$HOME/cancelled"')
        assert (tmp_path / "cancelled").read_text() == "17\n"

    def test_before_the_first_attempt_there_is_nothing_to_cancel(self, tmp_path: Path) -> None:
        cancel = slurm_programs.cancel(SlurmJob(DIGEST, 0), token="try-1")
        answer = self.run(cancel, tmp_path, scancel='touch "$HOME/cancelled"')
        assert slurm_programs.read_trouble(answer) == ""
        assert not (tmp_path / "cancelled").exists()
        assert self.submit(tmp_path, sbatch="echo 17").is_cancelled

    @pytest.mark.parametrize("command", ["sbatch", "squeue"])
    @pytest.mark.parametrize("status", [126, 127])
    def test_a_command_that_the_login_host_lacks_is_named_with_what_to_do(
        self, tmp_path: Path, command: str, status: int
    ) -> None:
        script = f"echo 'sh: {command}: not found' >&2; exit {status}"
        submitted = self.submit(tmp_path, JOB, None, **{command: script})
        assert f"no {command} in its PATH (sh: {command}: not found). Add the folder" in submitted.missing
        assert not submitted.refusal
        assert not submitted.trouble

    def test_what_cannot_be_cancelled_is_not_submitted(self, tmp_path: Path) -> None:
        what = slurm_programs.Submission("x", "#!/bin/sh\n")
        commands = {"sbatch": 'touch "$HOME/asked"; echo 17', "squeue": "exit 0", "scontrol": "exit 1"}
        answer = self.run_without_slurm(slurm_programs.submit(JOB, what, token="x"), tmp_path, **commands)
        assert "no scancel in its PATH. Add" in slurm_programs.read_submitted(answer).missing
        assert not (tmp_path / "asked").exists()

    def test_a_cancellation_without_the_command_is_told(self, tmp_path: Path) -> None:
        answer = self.run(slurm_programs.cancel(JOB), tmp_path, scancel="exit 127")
        assert "the login host has no scancel in its PATH" in slurm_programs.read_trouble(answer)

    def test_slurm_is_found_where_the_users_profile_knows_it(self, tmp_path: Path) -> None:
        folder = tmp_path / "slurm"
        self.write(folder, sbatch="echo 17", squeue="exit 0", scontrol="exit 1", scancel="exit 0")
        (tmp_path / ".profile").write_text(f'echo Welcome; PATH="{folder}"\n')
        what = slurm_programs.Submission("x", "#!/bin/sh\n")
        answer = self.run_without_slurm(slurm_programs.submit(JOB, what, token="x"), tmp_path)
        assert slurm_programs.read_submitted(answer).job_id == "17"

    def test_the_environment_of_the_user_may_bear_any_name(self, tmp_path: Path) -> None:
        names = [
            "timeout",
            "folder",
            "sbatch",
            "job",
            "status",
            "answer",
            "output",
            "key",
            "PATH",
            "IFS",
            "UID",
            "PPID",
        ]
        what = slurm_programs.Submission("x", "#!/bin/sh\n", env=dict.fromkeys(names, "theirs"))
        sbatch = '/usr/bin/env >"$HOME/seen"; echo 17'
        answer = self.run(slurm_programs.submit(JOB, what, token="x"), tmp_path, sbatch=sbatch)
        assert slurm_programs.read_submitted(answer) == slurm_programs.Submitted("17", is_new=True)
        assert (self.folder(tmp_path) / "job_id").read_text() == "17\n"
        seen = (tmp_path / "seen").read_text().splitlines()
        assert [name for name in names[:-3] if f"{name}=theirs" not in seen] == []

    def test_the_job_leaves_the_users_variables_alone(self, tmp_path: Path) -> None:
        batch = slurm_programs.Submission("x", "x").batch_script
        names = {name.partition("=")[0] for name in re.findall(r"^\s*([A-Za-z_]+=)", batch, re.MULTILINE)}
        assert all(name.lower().startswith("together_") for name in names)
        names |= {"folder", "signal", "again", "status", "child", "waited", "name"}
        theirs = {name: "theirs" for name in names if not name.lower().startswith("together_")}
        (tmp_path / "script").write_text("#!/bin/sh\n/usr/bin/env\n")
        (tmp_path / "script").chmod(0o755)
        (tmp_path / "batch").write_text(batch)
        done = subprocess.run(
            ["/bin/sh", tmp_path / "batch", tmp_path],
            env=theirs,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert {f"{name}=theirs" for name in theirs} <= set(done.stdout.splitlines())

    def test_a_look_at_a_slurm_that_does_not_answer_brings_its_words(self, tmp_path: Path) -> None:
        self.submit(tmp_path, sbatch="echo 17")
        commands = {"scontrol": "echo 'slurm_load_jobs error: Socket timed out' >&2; exit 1"}
        look = slurm_programs.read_look(self.run(slurm_programs.look(JOB, offset=None), tmp_path, **commands), JOB)
        assert look == Look(None, complaint="slurm_load_jobs error: Socket timed out")

    def test_while_the_queue_is_not_told_nobody_says_that_there_is_nothing_to_cancel(self, tmp_path: Path) -> None:
        answer = self.run(slurm_programs.cancel(SlurmJob(DIGEST, 2)), tmp_path, squeue="echo >&2 down; exit 1")
        assert slurm_programs.read_trouble(answer) == "down"

    def test_a_job_that_was_cancelled_is_not_followed_by_a_later_try(self, tmp_path: Path) -> None:
        self.submit(tmp_path, SlurmJob(DIGEST, 2), sbatch="echo 17")
        self.run(slurm_programs.cancel(SlurmJob(DIGEST, 2)), tmp_path, scancel="exit 0")
        said = shown("COMPLETING", name=f"x.{DIGEST}.2").removeprefix("0 ")
        answer = self.run(slurm_programs.find(DIGEST), tmp_path, scontrol=f"echo '{said}'")
        assert slurm_programs.read_latest(answer, DIGEST).job_to_follow(DIGEST, concluded=0) is None

    def test_a_home_that_cannot_be_written_to_is_told(self, tmp_path: Path) -> None:
        (tmp_path / ".airflow-together").touch()
        assert "cannot be made" in self.submit(tmp_path).trouble

    def test_the_latest_attempt_is_found_with_a_look_at_its_job(self, tmp_path: Path) -> None:
        for attempt in (1, 2, 10):
            self.submit(tmp_path, SlurmJob(DIGEST, attempt), sbatch=f"echo {attempt}7")
        said = shown("RUNNING", name=f"x.{DIGEST}.10").removeprefix("0 ")
        answer = self.run(slurm_programs.find(DIGEST), tmp_path, scontrol=f"echo '{said}'")
        latest = slurm_programs.read_latest(answer, DIGEST)
        assert latest == Latest(10, "107", look=Look(Standing("RUNNING", 0, "None")))

    def test_without_an_attempt_there_is_none(self, tmp_path: Path) -> None:
        assert slurm_programs.read_latest(self.run(slurm_programs.find(DIGEST), tmp_path), DIGEST) == Latest()

    def test_an_attempt_that_was_begun_only_has_no_job(self, tmp_path: Path) -> None:
        self.submit(tmp_path, sbatch="exit 124")
        answer = self.run(slurm_programs.find(DIGEST), tmp_path, scontrol='touch "$HOME/asked"')
        assert slurm_programs.read_latest(answer, DIGEST) == Latest(2)
        assert not (tmp_path / "asked").exists()  # without an id Slurm would show all jobs

    def test_what_was_concluded_is_known_as_such(self, tmp_path: Path) -> None:
        self.submit(tmp_path, sbatch="echo 17")
        assert slurm_programs.read_trouble(self.run(slurm_programs.conclude(JOB), tmp_path)) == ""
        latest = slurm_programs.read_latest(self.run(slurm_programs.find(DIGEST), tmp_path), DIGEST)
        assert latest.is_concluded

    def test_a_look_shows_slurms_word_the_record_and_the_output_from_an_offset_on(self, tmp_path: Path) -> None:
        self.submit(tmp_path, sbatch="echo 17")
        folder = self.folder(tmp_path)
        (folder / "output.log").write_bytes(b"one\ntwo \xff\nexit 0 none\n")
        (folder / "exit").write_text("7 none 0\n")
        commands = {"scontrol": "echo 'error: Invalid job id specified' >&2; exit 1", "sacct": "echo 'TIMEOUT|0:15'"}
        look = slurm_programs.read_look(self.run(slurm_programs.look(JOB, offset=4), tmp_path, **commands), JOB)
        assert look == Look(Standing("TIMEOUT", 143), Record(7), 22, b"two \xff\nexit 0 none\n")
        look = slurm_programs.read_look(self.run(slurm_programs.look(JOB, offset=None), tmp_path), JOB)
        assert look == Look(None, Record(7), 22)

    def test_a_look_at_a_job_without_output_shows_none(self, tmp_path: Path) -> None:
        self.submit(tmp_path, sbatch="echo 17")
        look = slurm_programs.read_look(self.run(slurm_programs.look(JOB, offset=0), tmp_path), JOB)
        assert look == Look(None)

    def test_a_job_is_cancelled_by_its_id_or_by_what_is_written_of_it(self, tmp_path: Path) -> None:
        self.submit(tmp_path, sbatch="echo 17")
        scancel = 'echo "$1" >>"$HOME/cancelled"'
        for job in (JOB, SlurmJob(DIGEST, 2)):
            assert slurm_programs.read_trouble(self.run(slurm_programs.cancel(job), tmp_path, scancel=scancel)) == ""
        assert (tmp_path / "cancelled").read_text() == "17\n17\n"

    def test_what_slurm_says_against_a_cancellation_is_told(self, tmp_path: Path) -> None:
        answer = self.run(slurm_programs.cancel(JOB), tmp_path, scancel="echo down; exit 1")
        assert slurm_programs.read_trouble(answer) == "down"

    @pytest.mark.parametrize(("restarts", "is_told"), [("", True), ("Restarts=0 ", True), ("Restarts=1 ", False)])
    def test_the_record_of_a_run_before_the_job_was_requeued_is_not_told(
        self, tmp_path: Path, restarts: str, is_told: bool
    ) -> None:
        self.submit(tmp_path, sbatch="echo 17")
        (self.folder(tmp_path) / "exit").write_text("0 none 0\n")
        said = f"{shown('RUNNING').removeprefix('0 ')} {restarts}BatchFlag=1"
        answer = self.run(slurm_programs.look(JOB, offset=None), tmp_path, scontrol=f"echo '{said}'")
        assert (slurm_programs.read_look(answer, JOB).record is not None) == is_told

    def test_a_result_is_read_up_to_its_largest_size(self, tmp_path: Path) -> None:
        self.submit(tmp_path, sbatch="echo 17")
        assert slurm_programs.read_result(self.run(slurm_programs.result(JOB), tmp_path)) == ""
        (self.folder(tmp_path) / "result").write_bytes(b"x" * 5000)
        assert slurm_programs.read_result(self.run(slurm_programs.result(JOB), tmp_path)) == "x" * 4096
        (self.folder(tmp_path) / "result").write_bytes(b" w\xff\n")
        assert slurm_programs.read_result(self.run(slurm_programs.result(JOB), tmp_path)) == "w\ufffd"

    @pytest.mark.parametrize(
        ("signals", "script", "record"),
        [
            ("", "exit 0", "0 none"),
            ("", "exit 7", "7 none"),
            ("", "[ ! -e ~/job/exit ]", "0 none"),
            ("", "kill -9 $$", "137 none"),
            ("", "exit 127", "127 none"),
            ("USR1", "trap 'exit 5' USR1; : >~/ready; while :; do sleep 0.05; done", "5 none"),
            ("TERM", "trap '' TERM; : >~/ready; while [ ! -e ~/told ]; do sleep 0.05; done; exit 0", "0 TERM"),
        ],
    )
    def test_the_job_writes_down_how_its_script_ended(
        self, tmp_path: Path, signals: str, script: str, record: str
    ) -> None:
        folder = tmp_path / "job"
        folder.mkdir()
        (folder / "exit").write_text("143 TERM 0\n")  # of a former run
        (folder / "script").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "script").chmod(0o755)
        (folder / "batch").write_text(slurm_programs.Submission("x", "x").batch_script)
        environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "SLURM_JOB_ID": "17", "SLURM_RESTART_COUNT": "1"}
        job = f"sh {folder}/batch {folder} & job=$!\n"
        if signals:
            job += f"until [ -e ~/ready ]; do sleep 0.05; done; kill -s {signals} $job; sleep 0.2; : >~/told\n"
        done = subprocess.run(
            ["/bin/sh", "-c", f"{job}wait $job"], env=environment, timeout=60, check=False, capture_output=True
        )
        assert (folder / "exit").read_text() == f"{record} 1\n"
        assert (folder / "job_id").read_text() == "17\n"
        assert done.returncode == int(record.partition(" ")[0])

    def test_what_a_login_shell_says_before_the_answer_is_ignored(self, tmp_path: Path) -> None:
        self.submit(tmp_path, sbatch="echo 17")
        answer = b"Welcome!\njob 99\n" + self.run(slurm_programs.find(DIGEST), tmp_path) + b"\nlogged out.\n"
        assert slurm_programs.read_latest(answer, DIGEST).job_id == "17"

    @pytest.mark.parametrize(
        "answer", [b"", b"bash: command not found\n", b"airflow-together-answer\n", b"airflow-together-answer\nx"]
    )
    def test_an_answer_that_is_not_whole_is_none(self, answer: bytes) -> None:
        for read in (
            lambda: slurm_programs.read_latest(answer, DIGEST),
            lambda: slurm_programs.read_submitted(answer),
            lambda: slurm_programs.read_look(answer, JOB),
            lambda: slurm_programs.read_result(answer),
            lambda: slurm_programs.read_trouble(answer),
        ):
            with pytest.raises(MalformedAnswerError):
                read()

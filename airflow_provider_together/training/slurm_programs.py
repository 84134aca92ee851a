"""
The shell programs that run on a cluster's login host, and the one that runs in the job; and how to read their answers.

Programs are sent through the standard input of ``/bin/sh``, never as a command line, which all users of the host can
read. Whatever must not be torn apart happens inside of one program: a job is looked for, submitted and written down
under one lock, so that a lost answer, a killed worker and two tries at once all end in one job. Each program may be
sent again after a lost answer.

Below the home, which login and compute nodes share, ``.airflow-together/DIGEST/ATTEMPT/`` holds ``job_id``, the
``script`` and the ``batch`` script that runs it, the path of its output, ``exit`` once it has ended, ``result`` if the
script leaves one, and ``concluded`` once its end was told to Airflow.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from airflow_provider_together.exceptions import MalformedAnswerError
from airflow_provider_together.training.slurm import (
    LARGEST_RESULT,
    Latest,
    Look,
    SlurmJob,
    is_job_id,
    job_name,
    read_account,
    read_record,
    read_standing,
)

#: Begins an answer; what a login shell writes before it is of no interest.
_BEGIN = "airflow-together-answer"
#: Bytes of output that one look brings.
OUTPUT_PIECE = 256 * 1024
#: Seconds in which one command of Slurm's has to answer; while its controller is down they take about ten.
_SLURM_SECONDS = 30

#: What all programs have in common. Where Slurm is not on the path, a login shell's profile may know where it is.
_COMMON = f"""
command -v sbatch >/dev/null 2>&1 || . /etc/profile >/dev/null 2>&1
base=$HOME/.airflow-together
timeout=$(command -v timeout)
slurm() {{ "$timeout" {_SLURM_SECONDS} "$@"; }}
tell() {{ printf '%s %s\\n' "$1" "$(printf '%s' "$2" | tr '\\n' ' ')"; }}
find_job() {{ # DIGEST.ATTEMPT: the job of that attempt, whose id nobody was told
    jobs=$(slurm squeue -h -t all -u "$(id -un)" -o '%i %r %j' 2>&1) || return
    job=$(printf '%s\\n' "$jobs" | grep "\\.$1\\$" | grep -v ' BadConstraints ' | tail -n 1)
    job=${{job%% *}}
}}
keep() {{ printf '%s\\n' "$2" >"$1.$$" && mv -f "$1.$$" "$1"; }}
show_job() {{
    case $2 in ''|*[!0-9]*) return ;; esac
    answer=$(slurm scontrol --oneliner show job "$2" 2>&1); status=$?
    record=$(cat "$1/exit" 2>/dev/null)
    # That of a run before the job was requeued says nothing of the job.
    case "$answer " in *' Restarts='*) case "$answer " in *" Restarts=${{record##* }} "*) ;; *) record= ;; esac ;; esac
    [ -z "$record" ] || tell exit "${{record% *}}"
    tell scontrol "$status $answer"
    case $answer in *'Invalid job id'*)
        answer=$(slurm sacct -n -P -X -j "$2" -o State,ExitCode 2>&1); status=$?
        tell sacct "$status $(printf '%s\\n' "$answer" | tail -n 1)" ;;
    esac
}}
"""

#: The job itself. A signal for the batch script alone is a matter of the user's script; one for all reaches it anyway,
#: and ends it before this writes down how.
_BATCH = """
# Runs the script beside it, and writes down how it ended, which Slurm forgets.
folder=$1
rm -f "$folder/exit" "$folder/result"
[ -s "$folder/job_id" ] || {
    printf '%s\\n' "$SLURM_JOB_ID" >"$folder/job_id.job" && mv -f "$folder/job_id.job" "$folder/job_id"
}
TOGETHER_RESULT_PATH=$folder/result
export TOGETHER_RESULT_PATH
signal=none
again=1
status=
trap 'signal=TERM again=1' TERM
trap 'signal=INT again=1' INT
for name in USR1 USR2 HUP; do trap "again=1; kill -s $name \\"\\$child\\" 2>/dev/null" "$name"; done
"$folder/script" &
child=$!
while [ -n "$again" ]; do
    again=
    wait "$child"
    waited=$?
    { [ "$waited" = 127 ] && [ -n "$status" ]; } || status=$waited
done
printf '%s %s %s\\n' "$status" "$signal" "${SLURM_RESTART_COUNT:-0}" >"$folder/exit.job" &&
    mv -f "$folder/exit.job" "$folder/exit"
exit "$status"
"""


@dataclass(frozen=True, slots=True)
class Submission:
    """
    What is submitted.

    :param words: words for the job's name.
    :param script: the user's, with its first line.
    :param batch_lines: its lines for sbatch.
    :param options: words for sbatch, which take precedence.
    :param env: additional environment of the job; it is in no command line and in no file of ours.
    :param output: where the output goes, absolute or below the home, with ``%j`` for the job's id; empty for the
        folder of the job.
    """

    words: str
    script: str
    batch_lines: Sequence[str] = ()
    options: Sequence[str] = ()
    env: Mapping[str, str] | None = None
    output: str = ""

    @property
    def batch_script(self) -> str:
        """The script that Slurm gets."""
        return "\n".join(["#!/bin/sh", *self.batch_lines, _BATCH.lstrip()])


@dataclass(frozen=True, slots=True)
class Submitted:
    """
    What became of a submission.

    :param job_id: of the job; empty if there is none.
    :param is_new: whether it was submitted just now.
    :param refusal: Slurm's message, if it refused.
    :param trouble: why nobody knows yet: look again.
    :param is_cancelled: whether the try that submits was cancelled meanwhile, and its job with it.
    """

    job_id: str = ""
    is_new: bool = False
    refusal: str = ""
    trouble: str = ""
    is_cancelled: bool = False


def find(digest: str) -> str:
    """Return the program that shows the latest attempt."""
    return _program(
        f"""
key=$base/{shlex.quote(digest)}
attempt=$(ls "$key" 2>/dev/null | grep -x '[1-9][0-9]*' | sort -n | tail -n 1)
tell attempt "${{attempt:-0}}"
[ -n "$attempt" ] || return 0
folder=$key/$attempt
[ ! -e "$folder/concluded" ] || tell concluded yes
job=$(cat "$folder/job_id" 2>/dev/null)
tell job "$job"
show_job "$folder" "$job"
"""
    )


def submit(job: SlurmJob, what: Submission, *, token: str) -> str:
    """
    Return the program that submits an attempt, unless it has a job already.

    :param token: of the try; see :func:`cancel`.
    """
    name = job_name(what.words, job)
    ours = ["--parsable", f"--job-name={name}", "--open-mode=append"]
    options = " ".join(shlex.quote(word) for word in [*what.options, *ours])
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in (what.env or {}).items())
    output = shlex.quote(what.output) if what.output else '"$folder/output.log"'
    return _program(
        f"""
key=$base/{job.digest}
folder=$key/{job.attempt}
cancelled=$key/cancelled.{shlex.quote(token)}
mkdir -p "$folder" && chmod 700 "$base" || {{ tell trouble "the folder $folder cannot be made"; return; }}
exec 9>"$key/lock"
flock -w {_SLURM_SECONDS} 9
[ $? -ne 1 ] || {{ tell trouble 'another try of this task is submitting'; return; }}
[ ! -e "$cancelled" ] || {{ tell cancelled yes; return; }}
job=$(cat "$folder/job_id" 2>/dev/null)
[ -z "$job" ] || {{ tell job "$job"; return; }}
find_job '{job.digest}\\.{job.attempt}' || {{ tell trouble "$jobs"; return; }}
[ -z "$job" ] || {{ keep "$folder/job_id" "$job"; tell job "$job"; return; }}
printf '%s' {shlex.quote(what.script)} >"$folder/script" && chmod 700 "$folder/script"
printf '%s' {shlex.quote(what.batch_script)} >"$folder/batch"
output={output}
case $output in /*) ;; '~/'*) output=$HOME/${{output#??}} ;; *) output=$HOME/$output ;; esac
keep "$folder/output_path" "$output" || {{ tell trouble "the folder $folder cannot be written to"; return; }}
sbatch=$(command -v sbatch)
set -- {options} --output="$output" --error="$output" "$folder/batch" "$folder"
# Without a variable of this program between the job's and the command, since the job's may have the same names.
set -- "$timeout" {_SLURM_SECONDS} "$sbatch" "$@"
answer=$({{
{exports}"$@"
}} 2>"$folder/sbatch" 9>&-)
status=$?
job=${{answer%%;*}}
job=$(printf '%s\\n' "$job" | tail -n 1)
case $status,$job in
0,|0,*[!0-9]*) tell trouble "sbatch answered: $answer" ;;
0,*) keep "$folder/job_id" "$job"
     # Before anything is told: where nobody listens any more, telling ends this program.
     [ ! -e "$cancelled" ] || {{ slurm scancel "$job" >/dev/null 2>&1; tell cancelled yes; }}
     tell job "$job"
     tell new yes ;;
124,*) tell trouble "sbatch did not answer within {_SLURM_SECONDS} s" ;;
*) tell refused "$(cat "$folder/sbatch")" ;;
esac
"""
    )


def look(job: SlurmJob, *, offset: int | None) -> str:
    """
    Return the program that shows how a job is getting on.

    :param offset: bytes of its output that are known already; None if the output is not wanted.
    """
    piece = "" if offset is None else f'tail -c +{offset + 1} "$output" 2>/dev/null | head -c {OUTPUT_PIECE}\n'
    return _program(
        f"""
folder=$base/{job.digest}/{job.attempt}
show_job "$folder" {shlex.quote(job.job_id)}
output=$(sed 's/%j/{job.job_id}/g' "$folder/output_path" 2>/dev/null)
size=$(wc -c <"$output" 2>/dev/null)
tell output "${{size:-0}}"
{piece}"""
    )


def result(job: SlurmJob) -> str:
    """Return the program that shows what the script has left as its result."""
    path = f'"$base/{job.digest}/{job.attempt}/result"'
    return _program(f"tell output 0\nhead -c {LARGEST_RESULT} {path} 2>/dev/null\n")


def conclude(job: SlurmJob) -> str:
    """Return the program that writes down that the end of a job was told."""
    return _program(f': >"$base/{job.digest}/{job.attempt}/concluded" && tell concluded yes\n')


def cancel(job: SlurmJob, *, token: str = "") -> str:
    """
    Return the program that cancels the job of an attempt, whether its id is known here or not.

    :param token: of a try that may be about to submit: it will not, or will cancel what it submits.
    """
    mark = f'mkdir -p "$key" && : >"$key/cancelled.{shlex.quote(token)}"\n' if token else ""
    return _program(
        f"""
key=$base/{job.digest}
{mark}job={shlex.quote(job.job_id)}
[ -n "$job" ] || job=$(cat "$key/{job.attempt}/job_id" 2>/dev/null)
[ -n "$job" ] || find_job '{job.digest}\\.{job.attempt}' || {{ tell trouble "$jobs"; return; }}
case $job in
'') tell cancelled none; return ;;
*[!0-9]*) tell trouble "$job is no id of a job"; return ;;
esac
answer=$(slurm scancel "$job" 2>&1) || {{ tell trouble "$answer"; return; }}
# It takes a while to end, and a later try is not to follow it; one that had ended by itself has an outcome.
[ -s "$key/{job.attempt}/exit" ] || touch "$key/{job.attempt}/concluded" 2>/dev/null
tell cancelled "$job"
"""
    )


def read_latest(answer: bytes, digest: str) -> Latest:
    """
    Read the answer of :func:`find`.

    :raises MalformedAnswerError: if it is none.
    """
    fields, _ = _fields(answer)
    attempt = fields.get("attempt", "")
    if not attempt.isdecimal():
        raise MalformedAnswerError(_shown(answer))
    job_id = fields.get("job", "")
    if not is_job_id(job_id):
        return Latest(int(attempt), is_concluded="concluded" in fields)
    job = SlurmJob(digest, int(attempt), job_id)
    return Latest(job.attempt, job_id, is_concluded="concluded" in fields, look=_look(fields, job))


def read_submitted(answer: bytes) -> Submitted:
    """
    Read the answer of :func:`submit`.

    :raises MalformedAnswerError: if it is none.
    """
    fields, _ = _fields(answer)
    job_id = fields.get("job", "")
    submitted = Submitted(
        job_id=job_id,
        is_new="new" in fields,
        refusal=fields.get("refused", ""),
        trouble=fields.get("trouble", ""),
        is_cancelled="cancelled" in fields,
    )
    is_answer = is_job_id(job_id) or submitted.is_cancelled or not fields.keys().isdisjoint({"refused", "trouble"})
    if not is_answer:
        raise MalformedAnswerError(_shown(answer))
    return submitted


def read_look(answer: bytes, job: SlurmJob) -> Look:
    """
    Read the answer of :func:`look`.

    :raises MalformedAnswerError: if it is none.
    """
    fields, output = _fields(answer)
    if "output" not in fields:
        raise MalformedAnswerError(_shown(answer))
    return _look(fields, job, output=output)


def read_result(answer: bytes) -> bytes:
    """
    Read the answer of :func:`result`.

    :raises MalformedAnswerError: if it is none.
    """
    fields, output = _fields(answer)
    if "output" not in fields:
        raise MalformedAnswerError(_shown(answer))
    return output


def read_trouble(answer: bytes) -> str:
    """
    Read the answer of :func:`cancel` or :func:`conclude`: what went wrong, or nothing.

    :raises MalformedAnswerError: if it is none.
    """
    fields, _ = _fields(answer)
    if fields.keys().isdisjoint({"cancelled", "concluded", "trouble"}):
        raise MalformedAnswerError(_shown(answer))
    return fields.get("trouble", "")


def _look(fields: Mapping[str, str], job: SlurmJob, *, output: bytes = b"") -> Look:
    standing = read_standing(fields.get("scontrol", ""), job)
    if standing is not None and not standing.state:
        standing = read_account(fields.get("sacct", "")) or standing
    size = fields.get("output", "0").strip()
    return Look(standing, read_record(fields.get("exit", "")), int(size) if size.isdecimal() else 0, output)


def _program(body: str) -> str:
    # As a function, so that the whole is read before it runs, and no command inside reads what is left of it.
    return f"main() {{\n{_COMMON}printf '%s\\n' {_BEGIN}\n{body}\n}}\nmain </dev/null\nexit 0\n"


def _fields(answer: bytes) -> tuple[dict[str, str], bytes]:
    """Take an answer apart: its lines ``NAME VALUE`` up to the output's, and the output."""
    _, found, rest = answer.partition(f"{_BEGIN}\n".encode())
    if not found:
        raise MalformedAnswerError(_shown(answer))
    fields: dict[str, str] = {}
    while rest:
        line, _, rest = rest.partition(b"\n")
        name, _, value = line.decode(errors="replace").partition(" ")
        if re.fullmatch(r"[a-z]+", name, re.ASCII):
            fields.setdefault(name, value.strip())
        if name == "output":
            break
    return fields, rest


def _shown(answer: bytes) -> str:
    return f"the login host answered {answer[-500:].decode(errors='replace')!r}"

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

from airflow_provider_together.api.wording import printable
from airflow_provider_together.exceptions import MalformedAnswerError
from airflow_provider_together.jobs.slurm.job import (
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
#: Seconds that a user's profile may take to say which PATH it sets.
_PROFILE_SECONDS = 10

#: What all programs have in common. Where Slurm is not in the PATH, that of the machine's or the user's login shells
#: may hold it.
_COMMON = f"""
timeout=$(command -v timeout)
command -v sbatch >/dev/null 2>&1 || . /etc/profile >/dev/null 2>&1
command -v sbatch >/dev/null 2>&1 || {{
    path=$("$timeout" {_PROFILE_SECONDS} "${{SHELL:-/bin/sh}}" -lc 'printf "\\nPATH %s\\n" "$PATH"' 2>/dev/null |
        sed -n 's/^PATH //p' | tail -n 1)
    PATH=$PATH${{path:+:$path}}
}}
base=$HOME/.airflow-together
slurm() {{ "$timeout" {_SLURM_SECONDS} "$@"; }}
tell() {{ printf '%s %s\\n' "$1" "$(printf '%s' "$2" | tr '\\n' ' ')"; }}
complain() {{ # STATUS COMMAND MESSAGE: where a shell finds no command, the status is 127
    case $1 in 126|127) tell missing "$2 $3" ;; *) tell trouble "$3" ;; esac
}}
latest_in() {{ ls "$1" 2>/dev/null | grep -x '[1-9][0-9]*' | sort -n | tail -n 1; }}
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
#: and ends it before this writes down how. Its variables have a prefix: one that the user has exported under the same
#: name would change for his script as well.
_BATCH = """
# Runs the script beside it, and writes down how it ended, which Slurm forgets.
rm -f "$1/exit" "$1/result"
[ -s "$1/job_id" ] || {
    printf '%s\\n' "$SLURM_JOB_ID" >"$1/job_id.job" && mv -f "$1/job_id.job" "$1/job_id"
}
TOGETHER_RESULT_PATH=$1/result
export TOGETHER_RESULT_PATH
together_signal=none
together_again=1
together_status=
trap 'together_signal=TERM together_again=1' TERM
trap 'together_signal=INT together_again=1' INT
trap 'together_again=1; kill -s USR1 "$together_child" 2>/dev/null' USR1
trap 'together_again=1; kill -s USR2 "$together_child" 2>/dev/null' USR2
trap 'together_again=1; kill -s HUP "$together_child" 2>/dev/null' HUP
"$1/script" &
together_child=$!
while [ -n "$together_again" ]; do
    together_again=
    wait "$together_child"
    together_waited=$?
    { [ "$together_waited" = 127 ] && [ -n "$together_status" ]; } || together_status=$together_waited
done
printf '%s %s %s\\n' "$together_status" "$together_signal" "${SLURM_RESTART_COUNT:-0}" >"$1/exit.job" &&
    mv -f "$1/exit.job" "$1/exit"
exit "$together_status"
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
    :param missing: a command that the login host does not have, as a sentence.
    :param trouble: why nobody knows yet: look again.
    :param is_cancelled: whether the try that submits was cancelled meanwhile, and its job with it.
    """

    job_id: str = ""
    is_new: bool = False
    refusal: str = ""
    missing: str = ""
    trouble: str = ""
    is_cancelled: bool = False


def find(digest: str) -> str:
    """Return the program that shows the latest attempt."""
    return _program(
        f"""
key=$base/{shlex.quote(digest)}
attempt=$(latest_in "$key")
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
    # By ``command``, since one that no shell lets change, such as UID, would end this one; and where nothing reads a
    # variable any more, since the user's may bear the names of ours.
    exports = "".join(f"command export {name}={shlex.quote(value)}\n" for name, value in (what.env or {}).items())
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
for command in sbatch squeue scontrol scancel; do
    command -v "$command" >/dev/null 2>&1 || {{ tell missing "$command"; return; }}
done
find_job '{job.digest}\\.{job.attempt}' || {{ complain $? squeue "$jobs"; return; }}
[ -z "$job" ] || {{ keep "$folder/job_id" "$job"; tell job "$job"; return; }}
printf '%s' {shlex.quote(what.script)} >"$folder/script" && chmod 700 "$folder/script"
printf '%s' {shlex.quote(what.batch_script)} >"$folder/batch"
output={output}
case $output in /*) ;; '~/'*) output=$HOME/${{output#??}} ;; *) output=$HOME/$output ;; esac
keep "$folder/output_path" "$output" || {{ tell trouble "the folder $folder cannot be written to"; return; }}
sbatch=$(command -v sbatch)
set -- {options} --output="$output" --error="$output" "$folder/batch" "$folder"
answer=$(
exec 2>"$folder/sbatch" 9>&-
set -- "$timeout" {_SLURM_SECONDS} "$sbatch" "$@"
{exports}exec "$@"
)
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
126,*|127,*) tell missing "sbatch $(cat "$folder/sbatch")" ;;
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


def cancel(job: SlurmJob, *, token: str = "", concluded: int = 0) -> str:
    """
    Return the program that cancels the job of an attempt, whether its id is known here or not.

    :param job: of attempt 0, the latest one whose end was not told yet.
    :param token: of a try that may be about to submit: it will not, or will cancel what it submits.
    :param concluded: the latest attempt whose end Airflow remembers to have been told.
    """
    attempt = str(job.attempt)
    if not job.attempt:
        attempt = f"""$(latest_in "$key")
[ "${{attempt:-0}}" -gt {concluded} ] && [ ! -e "$key/$attempt/concluded" ] || {{ tell cancelled none; return; }}"""
    mark = f'mkdir -p "$key" && : >"$key/cancelled.{shlex.quote(token)}"\n' if token else ""
    return _program(
        f"""
key=$base/{job.digest}
{mark}attempt={attempt}
job={shlex.quote(job.job_id)}
[ -n "$job" ] || job=$(cat "$key/$attempt/job_id" 2>/dev/null)
[ -n "$job" ] || find_job "{job.digest}\\.$attempt" || {{ complain $? squeue "$jobs"; return; }}
case $job in
'') tell cancelled none; return ;;
*[!0-9]*) tell trouble "$job is no id of a job"; return ;;
esac
answer=$(slurm scancel "$job" 2>&1) || {{ complain $? scancel "$answer"; return; }}
# It takes a while to end, and a later try is not to follow it; one that had ended by itself has an outcome.
[ -s "$key/$attempt/exit" ] || touch "$key/$attempt/concluded" 2>/dev/null
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
        missing=_missing(fields),
        trouble=fields.get("trouble", ""),
        is_cancelled="cancelled" in fields,
    )
    is_answer = is_job_id(job_id) or submitted.is_cancelled
    if not is_answer and fields.keys().isdisjoint({"refused", "missing", "trouble"}):
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


def read_result(answer: bytes) -> str:
    """
    Read the answer of :func:`result`.

    :raises MalformedAnswerError: if it is none.
    """
    fields, output = _fields(answer)
    if "output" not in fields:
        raise MalformedAnswerError(_shown(answer))
    return output.decode(errors="replace").strip()


def read_trouble(answer: bytes) -> str:
    """
    Read the answer of :func:`cancel` or :func:`conclude`: what went wrong, or nothing.

    :raises MalformedAnswerError: if it is none.
    """
    fields, _ = _fields(answer)
    if fields.keys().isdisjoint({"cancelled", "concluded", "missing", "trouble"}):
        raise MalformedAnswerError(_shown(answer))
    return fields.get("trouble", "") or _missing(fields)


def _missing(fields: Mapping[str, str]) -> str:
    """Say which command the login host does not have, and what to do; nothing if it has all."""
    command, _, words = fields.get("missing", "").partition(" ")
    if not command:
        return ""
    said = f" ({words})" if words else ""
    return (
        f"the login host has no {command} in its PATH{said}. Add the folder of Slurm's programs to PATH there, in "
        "/etc/profile or in the profile of the user who logs in (~/.bash_profile, ~/.profile): these are read where "
        "sbatch is not found without them"
    )


def _look(fields: Mapping[str, str], job: SlurmJob, *, output: bytes = b"") -> Look:
    standing = read_standing(fields.get("scontrol", ""), job)
    if standing is not None and not standing.state:
        standing = read_account(fields.get("sacct", "")) or standing
    size = fields.get("output", "0").strip()
    return Look(
        standing,
        read_record(fields.get("exit", "")),
        int(size) if size.isdecimal() else 0,
        output,
        complaint=fields.get("scontrol", "").partition(" ")[2] if standing is None else "",
    )


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
            fields.setdefault(name, printable(value.strip()))
        if name == "output":
            break
    return fields, rest


def _shown(answer: bytes) -> str:
    return f"the login host answered {answer[-500:].decode(errors='replace')!r}"

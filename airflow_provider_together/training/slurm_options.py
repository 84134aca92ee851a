"""
What a user gives of a Slurm job, checked: the script, sbatch's options, the environment, where the output goes.

Mistakes are told before anything is sent. What is checked is what would break the promises of the operator: that its
job is one job, is found again by its name, and that its output is shown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_together.exceptions import SpecError

#: Options that are ours, by their long and short names, and why.
_RESERVED = {
    "job-name": "the operator finds its job by its name: give job_name",
    "J": "the operator finds its job by its name: give job_name",
    "output": "the operator reads the log: give output_path",
    "o": "the operator reads the log: give output_path",
    "error": "errors go to the log as well: give output_path",
    "e": "errors go to the log as well: give output_path",
    "open-mode": "the log is read while it grows",
    "array": "a job array is many jobs: map the operator instead",
    "a": "a job array is many jobs: map the operator instead",
    "wrap": "give script",
    "wait": "the operator waits",
    "W": "the operator waits",
    "parsable": "the operator reads the answer",
    "test-only": "nothing would run",
    "clusters": "a cluster has one Slurm",
    "M": "a cluster has one Slurm",
    "hold": "nobody would release the job",
    "H": "nobody would release the job",
}
#: Those that a script may have in its ``#SBATCH`` lines, where the operator's own take precedence.
_OVERRIDDEN = frozenset({"job-name", "J", "output", "o", "error", "e", "open-mode"})


def option_words(options: Mapping[str, Any] | Sequence[str] | None) -> list[str]:
    """
    Return sbatch options as words of a command line.

    :param options: ``{"nodes": 2, "gpus-per-node": 8, "exclusive": True}``, or words such as ``["--nodes=2"]``.
    :raises SpecError: if one is ours to set, or is no option.
    """
    if isinstance(options, Mapping):
        words = [_option(name, value) for name, value in options.items() if value is not None and value is not False]
    elif options is None or isinstance(options, (list, tuple)):
        words = [str(word) for word in options or ()]
    else:
        raise SpecError([f"sbatch_options={options!r} is wrong: give a dictionary of options, or a list of words"])
    problems = [f"sbatch_options: {word!r} is wrong: {fault}" for word in words if (fault := _fault(word))]
    if problems:
        raise SpecError(problems)
    return words


def _option(name: str, value: Any) -> str:
    name = str(name).lstrip("-")
    if len(name) == 1:
        return f"-{name}" if value is True else f"-{name}{value}"
    name = name.replace("_", "-")
    return f"--{name}" if value is True else f"--{name}={value}"


def _fault(word: str, *, allowed: frozenset[str] = frozenset()) -> str:
    match = re.match(r"--([a-z0-9-]+)|-([A-Za-z])", word, re.ASCII)
    if match is None:
        return "" if word and not word.startswith("-") and "\0" not in word else "it is no option of sbatch"
    name = match[1] or match[2]
    return "" if name in allowed else _RESERVED.get(name, "")


def batch_lines(script: str) -> list[str]:
    """
    Return the ``#SBATCH`` lines of a script, which Slurm would read.

    :raises SpecError: if one asks for what the operator cannot do.
    """
    lines = []
    for line in script.splitlines():
        if line.strip() and not line.startswith("#"):
            break
        if line.startswith("#SBATCH"):
            lines.append(line.rstrip())
    problems = []
    for line in lines:
        words = line.removeprefix("#SBATCH").split()
        if words[:1] in (["hetjob"], ["packjob"]):
            problems.append(f"script: {line!r} is wrong: a heterogeneous job is many jobs")
        problems += [
            f"script: {line!r} is wrong: {fault}" for word in words if (fault := _fault(word, allowed=_OVERRIDDEN))
        ]
    if problems:
        raise SpecError(problems)
    return lines


def runnable(script: str) -> str:
    """
    Return a script as a file that can be run: with a first line that says by what, and with Unix line ends.

    :raises SpecError: if it is empty.
    """
    text = script.replace("\r\n", "\n")
    if not text.strip() or "\0" in text:
        raise SpecError(["script is wrong: give the text of a batch script"])
    text = text if text.startswith("#!") else f"#!/bin/bash\n{text}"
    return text if text.endswith("\n") else f"{text}\n"


def log_pattern(output_path: str | None) -> str:
    """
    Check where the output shall go; empty for the folder of the job.

    :raises SpecError: if it holds what only Slurm knows to expand.
    """
    path = output_path or ""
    if re.search(r"%(?!j)|[\\\n\0]", path):
        fault = "of Slurm's patterns %j alone can be followed, which is the job's id"
        raise SpecError([f"output_path={path!r} is wrong: {fault}"])
    return path


def checked_environment(env: Mapping[str, Any] | None, options: Sequence[str]) -> dict[str, str]:
    """
    Check the environment of a job.

    :param options: words for sbatch, which may say that nothing of the environment is to be exported.
    :raises SpecError: if a name cannot be one, or if the job would not get it.
    """
    given = {str(name): str(value) for name, value in (env or {}).items()}
    problems = [
        f"env: {name!r} is no name of an environment variable"
        for name in given
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name, re.ASCII)
    ]
    problems += [f"env: the value of {name!r} holds a zero byte" for name, value in given.items() if "\0" in value]
    exports = [word for word in options if word.startswith("--export=")]
    if given and exports and "ALL" not in exports[-1].removeprefix("--export=").split(","):
        problems.append(f"env and sbatch_options {exports[-1]!r} exclude each other: the job would not get env")
    if problems:
        raise SpecError(problems)
    return given

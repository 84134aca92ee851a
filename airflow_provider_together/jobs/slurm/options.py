"""
What a user gives of a Slurm job, checked: the script, sbatch's options, the environment, where the output goes.

Mistakes are told before anything is sent. What is checked is what would break the promises of the operator: that its
job is one job, is found again by its name, and that its output is shown.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
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
#: Environment variables by which sbatch finds another Slurm, beside those that begin with ``SBATCH_``.
_OF_SBATCH = frozenset({"SLURM_CLUSTERS", "SLURM_CONF", "SLURM_CONF_SERVER"})
#: Variables that the program around the script sets itself, or that a shell does not let anybody set.
_OF_SHELL = frozenset({"TOGETHER_RESULT_PATH", "BASHOPTS", "BASH_VERSINFO", "EUID", "PPID", "SHELLOPTS", "UID"})

#: Begins a here-document, and finds the word that ends it; ``<<<`` begins none, and ``1<<2`` is arithmetic.
_HERE_DOCUMENT = re.compile(r"(?<!<)<<-?(?!<)\s*[\"'\\]?([A-Za-z_]\w*)")


def option_words(options: Mapping[str, Any] | Sequence[str] | None) -> list[str]:
    """
    Return sbatch options as words of a command line.

    :param options: ``{"nodes": 2, "gpus-per-node": 8, "exclusive": True}``, or words such as ``["--nodes=2"]``.
    :raises SpecError: if one is ours to set, or is no option.
    """
    if isinstance(options, Mapping):
        words = [_option(name, value) for name, value in options.items() if value is not None and value is not False]
    elif options is None or isinstance(options, (list, tuple)):
        words = [str(word) if isinstance(word, (str, int, float)) else "" for word in options or ()]
    else:
        raise SpecError([f"sbatch_options={options!r} is wrong: give a dictionary of options, or a list of words"])
    problems = [f"sbatch_options: {word!r} is wrong: {fault}" for word in words if (fault := _fault(word))]
    if problems:
        raise SpecError(problems)
    return words


def _option(name: Any, value: Any) -> str:
    option = str(name).lstrip("-")
    option = option if len(option) == 1 else option.replace("_", "-")
    if not re.fullmatch(r"[A-Za-z]|[a-z][a-z0-9-]+", option, re.ASCII):
        raise SpecError([f"sbatch_options: {name!r} is wrong: it is no option of sbatch"])
    if not isinstance(value, (str, int, float)):
        raise SpecError([f"sbatch_options: {name!r} is wrong: its value is {value!r}, give text or a number"])
    if len(option) == 1:
        return f"-{option}" if value is True else f"-{option}{value}"
    return f"--{option}" if value is True else f"--{option}={value}"


def _fault(word: str, *, allowed: frozenset[str] = frozenset()) -> str:
    if not word or not word.isprintable():
        return "it is no option of sbatch: it is empty, or holds a line end or another control character"
    match = re.match(r"--([a-z0-9-]+)(?:=|$)|-([A-Za-z])", word, re.ASCII)
    if match is None:
        return "it is no option of sbatch" if word.startswith("-") else ""
    name = match[1] or match[2]
    # sbatch takes the beginning of a long name for the whole; "a" stands for other options as well, and is refused.
    names = [full for full in _RESERVED if full == name or (match[1] and len(full) > 1 and full.startswith(name))]
    return next((_RESERVED[full] for full in names if full not in allowed), "")


def batch_lines(script: str) -> list[str]:
    """
    Return the ``#SBATCH`` lines of a script, which Slurm would read.

    Slurm passes over one that is indented, or that stands behind the first command, and says nothing: the job would run
    on one node. The former count here all the same, the latter are refused.

    :param script: see :func:`runnable`.
    :raises SpecError: if one asks for what the operator cannot do, or would not count.
    """
    lines: list[str] = []
    problems: list[str] = []
    command = ""
    for number, line in enumerate(_script_lines(script)):
        text = line.strip()
        if not text.startswith("#"):
            command = command or text
        elif number and text.startswith("#!") and not command:
            problems.append(f"script: {text!r} is wrong: what runs the script is said in its first line")
        elif text.startswith("#SBATCH") and command:
            fault = f"Slurm ignores what stands behind the first command, {command!r}: move it up"
            problems.append(f"script: {text!r} is wrong: {fault}")
        elif text.startswith("#SBATCH"):
            lines.append(text)
            problems += [f"script: {text!r} is wrong: {fault}" for fault in _line_faults(text)]
    if problems:
        raise SpecError(problems)
    return lines


def _script_lines(script: str) -> Iterator[str]:
    """Return the lines of a script, but for the text of here-documents, in which ``#SBATCH`` is somebody else's."""
    ends: list[str] = []
    for line in re.split(r"[\r\n]", script):
        if ends:
            if line.lstrip("\t") == ends[0]:
                del ends[0]
            continue
        yield line
        if not line.lstrip().startswith("#"):
            ends = _HERE_DOCUMENT.findall(line)


def _line_faults(line: str) -> list[str]:
    """Return what is wrong with a ``#SBATCH`` line."""
    words = line.removeprefix("#SBATCH").split()
    faults = ["a heterogeneous job is many jobs"] if words[:1] in (["hetjob"], ["packjob"]) else []
    return faults + [fault for word in words if (fault := _fault(word, allowed=_OVERRIDDEN))]


def runnable(script: str) -> str:
    """
    Return a script as a file that can be run, whatever system or triple-quoted string it comes from.

    That is with a first line that says by what, and with Unix line ends; without a byte order mark, blank lines before
    the first line, and indentation that all lines have in common, or all but the first.

    :raises SpecError: if it is empty, or its first line has no end that can be made out.
    """
    text = re.sub(r"\r+\n", "\n", script)
    if "\n" not in text:
        text = text.replace("\r", "\n")
    text = re.sub(r"\A\ufeff?(?:[^\S\n]*\n)*", "", text)
    if not text.strip() or "\0" in text:
        raise SpecError(["script is wrong: give the text of a batch script"])
    if text[0].isspace():
        text = textwrap.dedent(text).lstrip()
    text = text if text.startswith("#!") else f"#!/bin/bash\n{text}"
    first, _, rest = text.partition("\n")
    if "\r" in first:
        raise SpecError([f"script: its first line, {first!r}, is wrong: a carriage return stands within it"])
    if rest[:1].isspace():
        rest = textwrap.dedent(rest)
    return f"{first}\n{rest}" if rest.endswith("\n") else f"{first}\n{rest}\n"


def log_pattern(output_path: str | None) -> str:
    """
    Check where the output goes; empty for the folder of the job.

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
    :raises SpecError: if a name cannot be one, if it changes what sbatch does, or if the job would not get it.
    """
    if env is not None and not isinstance(env, Mapping):
        raise SpecError([f"env: {type(env).__name__} is wrong: give a dictionary of names and texts"])
    problems = [fault for name, value in (env or {}).items() if (fault := _fault_of_variable(name, value))]
    problems += export_conflicts(env, options)
    if problems:
        raise SpecError(problems)
    return {str(name): str(value) for name, value in (env or {}).items()}


def export_conflicts(env: Mapping[str, Any] | None, options: Sequence[str]) -> list[str]:
    """Return a sentence if sbatch's options say that the job does not get its environment."""
    exports = [word for word in options if word.startswith("--export=")]
    if env and exports and "ALL" not in exports[-1].removeprefix("--export=").split(","):
        return [f"env and sbatch_options {exports[-1]!r} exclude each other: the job would not get env"]
    return []


def _fault_of_variable(name: Any, value: Any) -> str:
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name, re.ASCII):
        return f"env: {name!r} is no name of an environment variable"
    if not isinstance(value, (str, int, float)):
        return f"env: the value of {name!r} is of type {type(value).__name__}: give text or a number"
    if "\0" in str(value):
        return f"env: the value of {name!r} holds a zero byte"
    if name.startswith("SBATCH_") or name in _OF_SBATCH:
        return f"env: {name!r} would change what sbatch does: give sbatch_options"
    if name in _OF_SHELL:
        return f"env: {name!r} would not reach the script: it is a variable of the shell that runs it, choose another"
    return ""

"""Every command on the pages exists, with these options: parsed by the program's own parser, not run."""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import metadata

import pytest
from packaging.requirements import Requirement

from airflow_provider_together import cli
from airflow_provider_together.emulator import __main__ as emulator
from airflow_provider_together.hooks.together import TogetherHook
from tests.docs.pages import PAGES, ROOT, Block, blocks, codes, prose

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = set(PROJECT["project"]["optional-dependencies"])
GROUPS = set(PROJECT["dependency-groups"])
MARKERS = {marker.partition(":")[0] for marker in PROJECT["tool"]["pytest"]["ini_options"]["markers"]}
OURS = PROJECT["project"]["name"]
#: Other packages that the pages install.
OTHERS = {"httpx", "pytest", "uv"}
#: Variables in front of commands, or exported, that are not connections.
VARIABLES = {"AIRFLOW_HOME", "AIRFLOW__CORE__DAGS_FOLDER", "HISTORIES"}


def check(command: str) -> None:
    """Check a command line, which may be several joined by ``&&``."""
    for part in command.split(" && "):
        _check_words(shlex.split(part))


def _check_words(words: list[str]) -> None:
    while words and (found := re.fullmatch(r"([A-Z_]+)=.*", words[0])):
        assert found[1] in VARIABLES
        words = words[1:]
    program, *rest = words
    assert program in PROGRAMS, f"nothing here knows the program {program!r}"
    PROGRAMS[program](rest)


def _export(words: list[str]) -> None:
    (assignment,) = words
    name, _, value = assignment.partition("=")
    if name.startswith("AIRFLOW_CONN_"):
        assert _ignored(value, name) == ""
    else:
        assert name in VARIABLES


def _pip(words: list[str]) -> None:
    assert words[0] == "install"
    for word in words[1:]:
        if word == "-q":
            continue
        requirement = Requirement(OURS + word.removeprefix(".") if word.startswith(".") else word)
        if requirement.name == OURS:
            assert requirement.extras <= EXTRAS
        else:
            assert requirement.name in OTHERS
            known = metadata(requirement.name).get_all("Provides-Extra") or [] if requirement.extras else []
            assert requirement.extras <= set(known)


def _uv(words: list[str]) -> None:
    parser = _strict("uv run")
    parser.add_argument("--extra", action="append", choices=sorted(EXTRAS))
    parser.add_argument("--group", action="append", choices=sorted(GROUPS))
    parser.add_argument("--all-extras", action="store_true")
    parser.add_argument("--with-requirements")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    assert words[0] == "run"
    parsed = parser.parse_args(words[1:])
    assert parsed.with_requirements is None or (ROOT / parsed.with_requirements).is_file()
    _check_words(parsed.command)


def _pytest(words: list[str]) -> None:
    parser = _strict("pytest")
    parser.add_argument("-n", type=int)
    parser.add_argument("-m", choices=sorted(MARKERS))
    parser.add_argument("paths", nargs="*")
    for path in parser.parse_args(words).paths:
        assert (ROOT / path).exists(), f"there is no {path}"


def _python(words: list[str]) -> None:
    assert words[0] == "-m"
    assert importlib.util.find_spec(f"{words[1]}.__main__")
    if words[1].endswith(".emulator"):
        emulator._parser().parse_args(words[2:])  # noqa: SLF001
    else:
        assert words[2:] == []


def _together(words: list[str]) -> None:
    if words[:1] == ["emulate"]:
        emulator._parser().parse_args(words[1:])  # noqa: SLF001
    else:
        cli._parser().parse_args(words)  # noqa: SLF001


def _airflow(words: list[str]) -> None:
    from airflow.cli import cli_parser

    parsed = cli_parser.get_parser().parse_args(words)
    if words[:2] == ["connections", "add"]:
        given = {"conn_type": parsed.conn_type, "password": parsed.conn_password, "extra": parsed.conn_extra}
        assert _ignored(json.dumps({**given, "extra": json.loads(given["extra"])})) == ""


def _ruff(words: list[str]) -> None:
    assert words in (["check"], ["format", "--check"])


def _mypy(words: list[str]) -> None:
    assert words == []


PROGRAMS: dict[str, Callable[[list[str]], None]] = {
    "airflow": _airflow,
    "export": _export,
    "mypy": _mypy,
    "pip": _pip,
    "pytest": _pytest,
    "python": _python,
    "ruff": _ruff,
    "together-airflow": _together,
    "uv": _uv,
}


class _Strict(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        pytest.fail(f"{self.prog}: {message}")


def _strict(program: str) -> _Strict:
    return _Strict(prog=program, allow_abbrev=False)


def _ignored(connection: str, name: str = "AIRFLOW_CONN_FROM_A_PAGE") -> str:
    """Return what of a connection is not used, without a request; a wrong one raises."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(name, connection)
        return TogetherHook(name.removeprefix("AIRFLOW_CONN_").lower()).settings.ignored


def commands() -> Iterator[tuple[str, str]]:
    for block in blocks("bash"):
        for line in block.text.splitlines():
            yield str(block), line
    for page in PAGES:
        for code in codes(prose(page)):
            if code.split()[0] in {"uv", "pip", "together-airflow"} and " " in code:
                yield page.name, code


@pytest.mark.parametrize(("place", "command"), sorted(set(commands())))
def test_a_command_exists_with_its_options(place: str, command: str) -> None:
    try:
        check(command)
    except SystemExit:
        pytest.fail(f"{place}: the program does not understand {command!r}")


@pytest.mark.parametrize("block", blocks("json"), ids=str)
def test_json_makes_a_connection(block: Block) -> None:
    assert _ignored(block.text) == ""


@pytest.mark.parametrize("heading", ["Try it", "Test"])
def test_the_readme_begins_these_sections_with_the_command_that_ci_runs(heading: str) -> None:
    text = (ROOT / "README.md").read_text().split(f"\n## {heading}\n", 1)[1]
    found = re.search(r"```(?:bash|sh|shell)\n(.*?)```", text, re.DOTALL)
    assert found
    assert "\n## " not in text[: found.start()]
    check(found[1].strip())

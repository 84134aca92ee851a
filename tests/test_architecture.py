"""
The direction of imports, and what each part may not touch, read from the sources themselves.

A rule that only a document states is broken by the first hurried change; here it fails a test and names the line.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = "airflow_provider_together"
ROOT = Path(__file__).parents[1] / PACKAGE

#: What each module of the engine may import of ours, none of it optional: a new module must be entered here.
ALLOWED = {
    "exceptions": set(),
    "api": set(),
    "api.phase": set(),
    "api.verdict": set(),
    "api.missing": set(),
    "api.wording": set(),
    "api.models": {"api.phase", "api.wording"},
    "api.specs": {"api.missing", "exceptions"},
    "api.call": {"exceptions"},
    "api.naming": {"exceptions"},
    "api.settings": {"exceptions"},
    "api.polling": {"api.models", "api.naming", "api.phase", "exceptions", "api.verdict"},
    "api.reservation": {"api.models", "api.naming"},
    "api.identity": {"api.call", "api.models", "api.naming", "api.reservation"},
    "api.dialects.wire": {"api.call", "api.models", "api.specs", "api.wording", "exceptions"},
    "api.dialects.tcloud": {"api.call", "api.dialects", "api.dialects.wire", "api.models", "api.specs", "exceptions"},
    "api.dialects.compute": {"api.call", "api.dialects", "api.dialects.wire", "api.models", "api.specs", "exceptions"},
    "api.dialects": {
        "api.call",
        "api.dialects.compute",
        "api.dialects.tcloud",
        "api.models",
        "api.specs",
        "exceptions",
    },
    "api.answer": {"api.call", "api.settings", "api.wording", "exceptions"},
    "api.retry": {"api.call", "exceptions"},
    "api.adoption": {
        "api.call",
        "api.dialects",
        "api.identity",
        "api.models",
        "api.naming",
        "api.polling",
        "api.reservation",
        "exceptions",
    },
    "api.flows": {
        "api.adoption",
        "api.call",
        "api.dialects",
        "api.identity",
        "api.models",
        "api.naming",
        "api.polling",
        "api.reservation",
        "api.settings",
        "api.specs",
        "exceptions",
        "api.verdict",
        "api.wording",
    },
    "api.agenda": set(),
    "api.rounds": {
        "api.agenda",
        "api.call",
        "api.dialects",
        "api.models",
        "api.polling",
        "exceptions",
        "api.verdict",
        "api.wording",
    },
    "api.sweep": {
        "api.call",
        "api.dialects",
        "api.flows",
        "api.models",
        "api.naming",
        "api.polling",
        "api.reservation",
        "api.verdict",
    },
    "api.address": {"api.dialects", "api.settings", "exceptions"},
    "api.proxy": {"exceptions"},
    "api.tls": {"api.settings", "exceptions"},
    "api.client": {
        "api.answer",
        "api.call",
        "api.dialects",
        "api.proxy",
        "api.retry",
        "api.settings",
        "api.tls",
        "exceptions",
    },
    "api.poller": {"api.call", "api.client", "api.flows", "api.polling", "api.rounds", "exceptions"},
}
#: Modules that talk to the network, wait or read a clock, and who may have them.
EFFECTS = {"asyncio", "httpx", "selectors", "socket", "ssl", "subprocess", "threading", "time"}
MAY_HAVE = {
    "api.client": {"asyncio", "httpx", "time"},
    "api.proxy": {"httpx", "ssl"},
    "api.tls": {"httpx", "ssl"},
    "api.poller": {"asyncio"},
    "api.answer": {"httpx"},
}
#: Extras, and the only modules that may import them when they are imported themselves.
KUBERNETES = {"hooks.kubernetes", "hooks.kubernetes_driver", "operators.kubernetes_pod", "triggers.kubernetes"}
SLURM = {"hooks.login_host", "hooks.slurm", "operators.slurm", "triggers.slurm"}
EXTRAS = {
    "airflow.providers.cncf": KUBERNETES,
    "kubernetes": KUBERNETES,
    "kubernetes_asyncio": KUBERNETES,
    "airflow.providers.ssh": SLURM,
    "asyncssh": SLURM,
    "paramiko": SLURM,
}


@dataclass(frozen=True)
class Import:
    """
    One import statement's target.

    :param name: full name of what is imported: a module, or a name in one.
    :param line: where it stands.
    :param is_at_module_level: whether it runs when the module is imported.
    """

    name: str
    line: int
    is_at_module_level: bool

    @property
    def ours(self) -> str:
        """The name within our package; empty for others."""
        return self.name.removeprefix(f"{PACKAGE}.") if self.name.startswith(f"{PACKAGE}.") else ""


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}


def imports_of(module: str) -> list[Import]:
    return list(_imports(ast.parse(SOURCES[module].read_text()).body, is_at_module_level=True))


def _imports(nodes: list[ast.stmt] | list[ast.AST], *, is_at_module_level: bool) -> Iterator[Import]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno, is_at_module_level) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            yield from (Import(f"{node.module}.{alias.name}", node.lineno, is_at_module_level) for alias in node.names)
        else:
            runs_later = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) or _is_for_types(node)
            yield from _imports(
                list(ast.iter_child_nodes(node)), is_at_module_level=is_at_module_level and not runs_later
            )


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def our_module(imported: Import) -> str:
    """Return the module that an import of ours leads to; a name in a module is cut off."""
    return imported.ours if imported.ours in SOURCES else imported.ours.rpartition(".")[0]


def is_of(name: str, root: str) -> bool:
    return name == root or name.startswith(f"{root}.")


ENGINE = sorted(name for name in SOURCES if is_of(name, "api") or name == "exceptions")
EMULATOR = sorted(name for name in SOURCES if is_of(name, "emulator"))
TRAINING = sorted(name for name in SOURCES if is_of(name, "training"))


def test_every_module_of_the_engine_has_its_rule() -> None:
    assert sorted(ALLOWED) == ENGINE


@pytest.mark.parametrize("module", ENGINE)
def test_the_engine_imports_in_one_direction(module: str) -> None:
    wrong = [one for one in imports_of(module) if one.ours and our_module(one) not in ALLOWED[module]]
    assert wrong == []


def test_the_rules_themselves_have_a_direction() -> None:
    rank = {name: place for place, name in enumerate(ALLOWED)}
    backwards = [
        (module, other)
        for module, others in ALLOWED.items()
        for other in others
        # A module of the dialects names their package only to reach its neighbour.
        if rank[other] >= rank[module] and not (other == "api.dialects" and is_of(module, "api.dialects"))
    ]
    assert backwards == []


@pytest.mark.parametrize("module", TRAINING)
def test_what_a_training_is_knows_no_client_and_no_clock(module: str) -> None:
    wrong = [
        one
        for one in imports_of(module)
        if one.ours and not is_of(one.ours, "training") and one.ours.split(".")[0] not in {"api", "exceptions"}
    ]
    assert wrong == []
    assert {one.name.split(".")[0] for one in imports_of(module)} & EFFECTS == set()


@pytest.mark.parametrize("module", ENGINE + EMULATOR + TRAINING)
def test_neither_the_engine_nor_the_emulator_knows_airflow(module: str) -> None:
    assert [one for one in imports_of(module) if is_of(one.name, "airflow")] == []


@pytest.mark.parametrize("module", ENGINE)
def test_only_the_drivers_have_effects(module: str) -> None:
    effects = {one.name.split(".")[0] for one in imports_of(module)} & EFFECTS
    assert effects <= MAY_HAVE.get(module, set())


@pytest.mark.parametrize("module", sorted(set(ENGINE) - {"api.client"}))
def test_nothing_but_the_drivers_sleeps_or_reads_a_file(module: str) -> None:
    called = [
        node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        for node in ast.walk(ast.parse(SOURCES[module].read_text()))
        if isinstance(node, ast.Call)
    ]
    assert not {"sleep", "open", "read_text", "urlopen", "create_connection"} & set(called)


@pytest.mark.parametrize("module", EMULATOR)
def test_the_emulator_imports_nothing_of_ours_but_its_own(module: str) -> None:
    assert [one for one in imports_of(module) if one.ours and not is_of(one.ours, "emulator")] == []


@pytest.mark.parametrize("module", sorted(SOURCES))
def test_extras_are_imported_by_their_own_modules_only(module: str) -> None:
    wrong = [
        one
        for one in imports_of(module)
        for root, leaves in EXTRAS.items()
        if is_of(one.name, root) and one.is_at_module_level and module not in leaves
    ]
    assert wrong == []


@pytest.mark.parametrize("module", sorted(SOURCES))
def test_every_module_says_what_it_is(module: str) -> None:
    assert ast.get_docstring(ast.parse(SOURCES[module].read_text()))


WITHOUT_AIRFLOW = """
import importlib, pkgutil, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name == "airflow" or name.startswith("airflow."):
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocked())
try:
    import airflow
except ImportError:
    pass
else:
    sys.exit("airflow is not blocked")
part = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(part.__path__, f"{sys.argv[1]}."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""


@pytest.mark.parametrize("part", ["api", "emulator"])
def test_the_part_imports_where_airflow_is_not_installed(part: str) -> None:
    command = [sys.executable, "-c", WITHOUT_AIRFLOW, f"{PACKAGE}.{part}"]
    done = subprocess.run(command, cwd=ROOT.parent, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr

"""
The direction of imports, and what each part may not touch, read from the sources themselves.

A rule that only a document states is broken by the first hurried change; here it fails a test and names the line.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = "airflow_provider_together"
ROOT = Path(__file__).parents[1] / PACKAGE

#: The floors of the house, the lowest first: a module imports from its own floor and from those below.
FLOORS = (
    ("exceptions",),
    ("api",),
    ("lifecycle.name",),  # a value, of which waits read the end of a cluster's life
    ("waiting",),
    ("lifecycle",),
    ("jobs",),
    ("runtime",),
    ("hooks",),
    ("links", "triggers"),
    ("operators",),
    ("sensors",),
    ("task_groups",),
    ("emulator",),
    ("demo",),
    ("cli_clusters", "get_provider_info"),
    ("cli",),
)
#: What a task in Airflow needs, and what is decided without it.
WITHOUT_AIRFLOW_INSTALLED = ("api", "emulator", "jobs", "lifecycle", "waiting")
#: Handing over a wait needs the trigger, and whoever hands over stands below the operators.
MAY_LOOK_UP = {("runtime.deferral", "triggers.gpu_cluster")}
#: Modules that talk to the network, wait or read a clock, and who may have them.
EFFECTS = {"asyncio", "httpx", "selectors", "socket", "ssl", "subprocess", "threading", "time"}
MAY_HAVE = {
    "api.client": {"asyncio", "httpx", "time"},
    "api.proxy": {"httpx", "ssl"},
    "api.tls": {"httpx", "ssl"},
    "api.answer": {"httpx"},
    "waiting.shared_poll": {"asyncio"},
}
#: Extras, and the only modules that may import them when they are imported themselves.
KUBERNETES = {"hooks.kubernetes", "runtime.kubernetes_driver", "operators.kubernetes_pod", "triggers.kubernetes"}
SLURM = {"runtime.login_host", "hooks.slurm", "operators.slurm", "triggers.slurm"}
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
    :param is_for_types: whether only a type checker reads it.
    """

    name: str
    line: int
    is_at_module_level: bool
    is_for_types: bool = False

    @property
    def ours(self) -> str:
        """The name within our package; empty for others."""
        return self.name.removeprefix(f"{PACKAGE}.") if self.name.startswith(f"{PACKAGE}.") else ""


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}


def imports_of(module: str) -> list[Import]:
    return list(_imports(ast.parse(SOURCES[module].read_text()).body))


def _imports(nodes: Iterable[ast.AST], *, runs_later: bool = False, is_for_types: bool = False) -> Iterator[Import]:
    for node in nodes:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            yield from _imports(
                ast.iter_child_nodes(node),
                runs_later=runs_later or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)),
                is_for_types=is_for_types or _is_for_types(node),
            )
            continue
        is_at_module_level = not runs_later and not is_for_types
        yield from (Import(name, node.lineno, is_at_module_level, is_for_types) for name in names)


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def our_module(imported: Import) -> str:
    """Return the module that an import of ours leads to; a name in a module is cut off."""
    return imported.ours if imported.ours in SOURCES else imported.ours.rpartition(".")[0]


def is_of(name: str, root: str) -> bool:
    return name == root or name.startswith(f"{root}.")


def below(*roots: str) -> list[str]:
    return sorted(name for name in SOURCES if any(is_of(name, root) for root in roots))


def floor_of(module: str) -> int:
    """Return the number of a module's floor; that of the most exact entry counts."""
    floors = [(len(root), floor) for floor, roots in enumerate(FLOORS) for root in roots if is_of(module, root)]
    assert floors, f"{module}: enter its floor"
    return max(floors)[1]


DECIDING = below("exceptions", "api", "lifecycle", "waiting", "jobs")
EMULATOR = below("emulator")


@pytest.mark.parametrize("module", [name for name in SOURCES if name])
def test_imports_point_down(module: str) -> None:
    upward = [
        one
        for one in imports_of(module)
        if one.ours and not one.is_for_types and floor_of(our_module(one)) > floor_of(module)
    ]
    assert [one for one in upward if (module, our_module(one)) not in MAY_LOOK_UP] == []


def test_no_module_needs_itself_to_be_imported() -> None:
    needed = {
        module: {our_module(one) for one in imports_of(module) if one.ours and one.is_at_module_level}
        for module in SOURCES
    }
    TopologicalSorter(needed).prepare()  # raises CycleError, which names the circle


@pytest.mark.parametrize("module", DECIDING + EMULATOR)
def test_neither_what_decides_nor_the_emulator_knows_airflow(module: str) -> None:
    assert [one for one in imports_of(module) if is_of(one.name, "airflow")] == []


@pytest.mark.parametrize("module", DECIDING)
def test_only_the_drivers_have_effects(module: str) -> None:
    effects = {one.name.split(".")[0] for one in imports_of(module)} & EFFECTS
    assert effects <= MAY_HAVE.get(module, set())


@pytest.mark.parametrize("module", sorted(set(DECIDING) - {"api.client"}))
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


#: A cross-reference in a docstring: to a module, or to something that it defines.
REFERENCE = re.compile(rf":\w+:`~?{PACKAGE}\.([\w.]+)`")


@pytest.mark.parametrize("module", sorted(SOURCES))
def test_what_a_docstring_refers_to_exists(module: str) -> None:
    dangling = [name for name in REFERENCE.findall(SOURCES[module].read_text()) if not exists(name)]
    assert dangling == []


def exists(name: str) -> bool:
    """Whether a module of ours has that name, or defines it."""
    if name in SOURCES:
        return True
    module, _, rest = name.rpartition(".")
    return bool(module) and exists(module) and (module not in SOURCES or _defines(module, rest))


def _defines(module: str, name: str) -> bool:
    return re.search(rf"^(?:class |def |async def )?{name}\b", SOURCES[module].read_text(), re.MULTILINE) is not None


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


@pytest.mark.parametrize("part", WITHOUT_AIRFLOW_INSTALLED)
def test_the_part_imports_where_airflow_is_not_installed(part: str) -> None:
    command = [sys.executable, "-c", WITHOUT_AIRFLOW, f"{PACKAGE}.{part}"]
    done = subprocess.run(command, cwd=ROOT.parent, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr

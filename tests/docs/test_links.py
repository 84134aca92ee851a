"""Every link and every name on the pages leads to something, and every page is linked and in the packages."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

from airflow_provider_together.emulator import Emulator, Fault, Options
from airflow_provider_together.get_provider_info import get_provider_info
from airflow_provider_together.operators.gpu_cluster import (
    CreateGPUClusterOperator,
    DeleteGPUClusterOperator,
    UpdateGPUClusterOperator,
)
from tests.docs.pages import PACKAGE, PAGES, README, ROOT, anchors, codes, links, prose, rows, section

OPERATORS = PACKAGE / "docs" / "operators.md"
#: Names with an equals sign behind them that are Airflow's, pytest's or Python's.
FOREIGN = {
    "LC_ALL",
    "PYTHONUTF8",
    "max_active_tasks",
    "on_kill_action",
    "pytest_plugins",
    "reattach_on_restart",
    "render_template_as_native_obj",
    "trigger_rule",
}
#: What a name of ours looks like.
MODULE = re.compile(r"(?:emulator|hooks|operators|sensors|task_groups|triggers)(?:\.[a-z_]+)+(?:\.[A-Z]\w+)?")
CLASS = re.compile(r"(?:GPUCluster|ClusterReady|Together)[A-Za-z]+|[A-Z][a-z]+(?:GPUClusters?|SharedVolume)[A-Za-z]+")
ARGUMENT = re.compile(r"\b([a-z][a-z_]+)=")


SOURCES = [node for path in PACKAGE.rglob("*.py") for node in ast.walk(ast.parse(path.read_text()))]
CLASSES = {node.name for node in SOURCES if isinstance(node, ast.ClassDef)}
ARGUMENTS = {node.arg for node in SOURCES if isinstance(node, ast.arg)} | {
    name for kind in (Options, Fault, Emulator) for name in inspect.signature(kind).parameters
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_files_and_headings(page: Path) -> None:
    dead = []
    for link in links(page):
        if link.startswith("https://"):
            continue
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            dead.append(link)
    assert dead == [], f"{page.name} has dead links"


@pytest.mark.parametrize("page", sorted(set(PAGES) - {README}), ids=lambda page: page.name)
def test_the_index_and_the_readme_link_every_page(page: Path) -> None:
    index = PACKAGE / "docs" / "README.md"
    assert page == index or page.name in links(index)
    assert page == index or f"airflow_provider_together/docs/{page.name}" in {
        link.partition("#")[0] for link in links(README)
    }


@pytest.mark.parametrize("builder", [WheelBuilder, SdistBuilder])
def test_every_page_is_in_the_packages(builder: type[WheelBuilder | SdistBuilder]) -> None:
    packed = {file.distribution_path for file in builder(str(ROOT)).recurse_included_files()}
    pages = {page.relative_to(ROOT).as_posix() for page in PAGES if page != README}
    assert pages - packed == set(), "these pages are not in the package"
    assert builder is WheelBuilder or "README.md" in packed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_modules_and_classes_of_ours_exist(page: Path) -> None:
    written = codes(prose(page))
    assert {name for name in CLASS.findall(" ".join(written)) if name not in CLASSES} == set()
    assert [name for name in written if MODULE.fullmatch(name) and not exists(name)] == []


def exists(name: str) -> bool:
    module, _, member = name.rpartition(".") if name.rpartition(".")[2][0].isupper() else (name, "", "__doc__")
    try:
        return hasattr(importlib.import_module(f"airflow_provider_together.{module}"), member)
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_what_is_written_as_an_argument_is_one(page: Path) -> None:
    # Messages of ours are compared with the code by a test of their own, tables of runs by theirs.
    written = [code for code in codes(prose(page)) if "…" not in code]
    assert {name for code in written for name in ARGUMENT.findall(code)} - ARGUMENTS - FOREIGN == set()


def test_the_table_of_tasks_has_all_classes_of_ours() -> None:
    listed = {codes(row[0])[0].rpartition(".")[2] for row in rows(section(README, "Operators, sensor, trigger"))}
    info = get_provider_info()
    modules = [name for kind in ("operators", "sensors") for entry in info[kind] for name in entry["python-modules"]]
    public = {
        name
        for module in map(importlib.import_module, modules)
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__ and "template_fields" in vars(value)
    }
    assert public - listed == set()


@pytest.mark.parametrize(
    ("heading", "operators"),
    [
        ("Creating a cluster", (CreateGPUClusterOperator, UpdateGPUClusterOperator)),
        ("Deleting a cluster", (DeleteGPUClusterOperator,)),
    ],
)
def test_every_parameter_is_on_the_page_and_no_other(heading: str, operators: tuple[type, ...]) -> None:
    written = set(codes(section(OPERATORS, heading)))
    parameters = {name for operator in operators for name in operator.all_parameter_kinds()}  # type: ignore[attr-defined]
    assert parameters - written == {"together_conn_id"}
    in_table = {code for row in rows(section(OPERATORS, heading)) for code in codes(row[0])}
    assert in_table - parameters == set()


def test_every_field_of_the_connection_is_on_its_page_and_no_other() -> None:
    page = PACKAGE / "docs" / "connection.md"
    cells = [row[1] for row in rows(section(page, "Fields"))]
    extras = [codes(cell)[0] for cell in cells if cell.startswith("extra")]
    assert extras == list(get_provider_info()["connection-types"][0]["conn-fields"])


#: What ``operators.md`` says is not a template.
NOT_TEMPLATES = {
    "ClusterReadySensor": {"deferrable", "poke_interval"},
    "GPUClusterPodOperator": {"log_pod_spec_on_failure"},
}


def test_what_may_be_a_template_is_as_the_page_says() -> None:
    page = section(OPERATORS, "Templates")
    for row in rows(section(README, "Operators, sensor, trigger")):
        module, _, name = codes(row[0])[0].rpartition(".")
        kind = getattr(importlib.import_module(f"airflow_provider_together.{module}"), name)
        if not hasattr(kind, "template_fields"):
            continue
        assert set(kind.all_parameter_kinds()) - set(kind.template_fields) == NOT_TEMPLATES.get(name, set())
        assert name not in NOT_TEMPLATES or f"`{name}`" in page

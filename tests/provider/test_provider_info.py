"""The provider's metadata is what Airflow accepts, and names only what exists."""

from __future__ import annotations

import importlib
import importlib.util
import json
import pkgutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import airflow
import jsonschema

import airflow_provider_together
from airflow_provider_together.get_provider_info import get_provider_info
from airflow_provider_together.hooks.together import TogetherHook

INFO = get_provider_info()


def named_modules(*kinds: str) -> list[str]:
    return [name for kind in kinds for entry in INFO[kind] for name in entry["python-modules"]]


def test_the_metadata_is_valid_against_airflows_own_schema() -> None:
    schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())
    jsonschema.validate(INFO, schema)


def test_the_entry_point_leads_to_the_metadata() -> None:
    found = [point for point in entry_points(group="apache_airflow_provider") if "together" in point.value]
    assert [point.load()() for point in found] == [INFO]


def test_every_module_that_it_names_exists() -> None:
    names = named_modules("hooks", "operators", "sensors", "triggers")
    assert [importlib.util.find_spec(name) is not None for name in names] == [True] * len(names)


#: Modules beside the public ones; what a running task does stands in those called ``*_task``.
HELPERS = ("base", "deletion", "gpu_cluster_watch", "kubernetes_pod", "owned_resource", "surroundings", "waiting")


def test_every_public_module_of_those_kinds_is_named() -> None:
    named = set(named_modules("operators", "sensors", "triggers"))
    for kind in ("operators", "sensors", "triggers"):
        package = importlib.import_module(f"airflow_provider_together.{kind}")
        modules = {f"{package.__name__}.{module.name}" for module in pkgutil.iter_modules(package.__path__)}
        helpers = {f"airflow_provider_together.{kind}.{name}" for name in HELPERS}
        helpers |= {module for module in modules if module.endswith("_task")}
        assert modules - helpers <= named


def test_the_hook_class_and_the_links_exist() -> None:
    paths = [entry["hook-class-name"] for entry in INFO["connection-types"]] + INFO["extra-links"]
    for path in paths:
        module, _, name = path.rpartition(".")
        assert hasattr(importlib.import_module(module), name)


def test_the_hook_agrees_with_the_metadata() -> None:
    (described,) = INFO["connection-types"]
    assert described["connection-type"] == TogetherHook.conn_type
    assert described["hook-name"] == TogetherHook.hook_name


def test_airflow_3_1_gets_the_same_labels_from_the_hook() -> None:
    behaviour = TogetherHook.get_ui_field_behaviour()
    (described,) = INFO["connection-types"]
    assert behaviour["relabeling"] == described["ui-field-behaviour"]["relabeling"]
    assert behaviour["hidden_fields"] == described["ui-field-behaviour"]["hidden-fields"]


def test_reading_the_metadata_imports_nothing_heavy() -> None:
    code = (
        "import sys; from airflow_provider_together.get_provider_info import get_provider_info; get_provider_info();"
        "print([name for name in ('airflow.sdk', 'httpx', 'pydantic', 'tenacity') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_the_package_is_typed_and_has_a_version() -> None:
    assert (Path(airflow_provider_together.__file__).parent / "py.typed").is_file()
    assert airflow_provider_together.__version__.count(".") == 2

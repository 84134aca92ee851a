"""
Every part of Airflow on which this package leans and which Airflow does not promise to keep, and what for.

Airflow promises what ``airflow.sdk`` exports. What is named here is not of that: when a new Airflow has moved it, one
of these tests fails and says what breaks. A part that is used anew must be entered here, which another test sees to.
"""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "airflow_provider_together"

#: By module: what is used of it, and what it is used for.
PRIVATE = {
    "airflow.sdk.execution_time.task_runner": {
        "RuntimeTaskInstance.get_dr_count": "the sweep learns whether a run exists",
        "RuntimeTaskInstance.get_dagrun_state": "the sweep learns whether a run is over",
        "RuntimeTaskInstance.get_task_states": "a kill is told from a clear, and a create from one that nobody needs",
    },
    "airflow.sdk.execution_time.comms": {
        "ValidateInletsAndOutlets": "a try learns whether it was replaced by another one, before it deletes a cluster",
    },
    "airflow.sdk.execution_time.xcom": {"XCom.get_value": "the link reads the address that the task has pushed"},
    "airflow.sdk.log": {"mask_secret": "API keys and kubeconfigs are kept out of the logs"},
    "airflow.triggers.base": {
        "BaseTrigger": "the triggers are made of it",
        "TriggerEvent": "the triggers fire it",
    },
    "airflow.models.variable": {
        "Variable.get": "the sweep of the command line reads the registry",
        "Variable.set": "the sweep of the command line writes the registry",
        "Variable.delete": "the sweep of the command line forgets an owner",
    },
    "airflow.models.dagrun": {"DagRun.state": "the sweep of the command line learns whether a run is over"},
    "airflow.utils.session": {"create_session": "the same"},
    "airflow.executors.local_executor": {
        "LocalExecutor._process_workloads": "the throw-away Airflow of the demo counts what it has sent",
        "LocalExecutor.change_state": "the same",
    },
    "airflow.sdk.bases.operator": {
        "BaseOperator.get_flat_relatives": "a create finds the tasks that use its cluster and delete it",
        "BaseOperator.get_closest_mapped_task_group": "the same, in a mapped group",
        "BaseOperator.iter_mapped_dependants": "a training's result is refused before the training is forgotten",
        "BaseOperator.resume_execution": "a cluster is given back when Airflow ends a deferral without an event",
    },
    "airflow.sdk.definitions.mappedoperator": {
        "OperatorPartial.expand": "the literals of mapped operators are checked",
        "OperatorPartial.expand_kwargs": "the same",
    },
}
#: Only where newer Airflows have it, or where another module stands in for it.
OPTIONAL = {"airflow.dag_processing.dagbag", "airflow.models.dagbag", "airflow.configuration", "airflow.exceptions"}
#: What Airflow documents for providers, or other providers document.
PROMISED = (
    "airflow.plugins_manager",
    "airflow.sdk.exceptions",
    "airflow.sdk.configuration",
    "airflow.sdk.types",
    "airflow.providers.",
)


@pytest.mark.parametrize(
    ("module", "part", "use"),
    [(module, part, use) for module, parts in PRIVATE.items() for part, use in parts.items()],
    ids=[f"{module}.{part}" for module, parts in PRIVATE.items() for part in parts],
)
def test_airflow_has_what_we_lean_on(module: str, part: str, use: str) -> None:
    found: object = importlib.import_module(module)
    for name in part.split("."):
        assert hasattr(found, name), f"this Airflow has no {module}.{part}, by which {use}"
        found = getattr(found, name)


def test_no_other_module_of_airflow_is_imported() -> None:
    known = {*PRIVATE, *OPTIONAL, "airflow", "airflow.sdk"}
    unknown = {
        f"{path.relative_to(PACKAGE)}: {module}"
        for path in PACKAGE.rglob("*.py")
        for module in _imported(path)
        if module.partition(".")[0] == "airflow" and module not in known and not module.startswith(PROMISED)
    }
    assert unknown == set(), "enter in PRIVATE what is used of it, and what for"


def _imported(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    named = {
        (node.module, alias.name)
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    return plain | {f"{module}.{name}" if f"{module}.{name}" in PRIVATE else module for module, name in named}

"""
What a DAG pays for importing our modules: each is imported in a process of its own, as a DAG's parse does it.

Airflow imports the files of DAGs again and again, and most of them never run a task. So what only a task needs, above
all the engine, must not come in; here it is the modules that are counted, not the time.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = "airflow_provider_together"

#: What an import brings, beyond what every DAG has imported.
IMPORTED = """
import importlib, json, sys
import airflow.sdk
airflow.sdk.BaseOperator, airflow.sdk.BaseSensorOperator
before = set(sys.modules)
importlib.import_module(sys.argv[1])
print(json.dumps(sorted(set(sys.modules) - before)))
"""

#: What any module of ours may bring of ours: names, values and the hook, which imports the engine when it is used.
LIGHT = {
    "api.known_dialects",
    "exceptions",
    "hooks.together",
    "runtime.compat.storage",
    "runtime.compat.task_state",
    "runtime.compat.versions",
    "runtime.connection_form",
    "runtime.kubeconfig",
}
#: What those may bring in addition that check their parameters.
CHECKED = {"api.missing", "runtime.parameters"}
#: What those may bring in addition that hand a wait over to the triggerer.
WAITING = {*CHECKED, "links.gpu_cluster", "runtime.deferral", "runtime.events", "runtime.failures", "waiting.verdict"}

OPERATORS = {
    *LIGHT,
    *WAITING,
    "api.specs",
    "lifecycle.name",
    "lifecycle.reservation",
    "operators.base",
    "operators.deletion",
    "operators.gpu_cluster",
    "operators.owned_resource",
    "operators.waiting",
    "runtime.mapping",
}
SENSOR = {*LIGHT, *WAITING, "runtime.mapping", "sensors.gpu_cluster"}
TRIGGER = {*LIGHT, *CHECKED, "runtime.ended_task", "triggers.gpu_cluster", "waiting.verdict"}
#: What operators have in common that train on a cluster.
TRAINING = {*LIGHT, *WAITING, "operators.base", "operators.owned_resource", "runtime.mapping"}
JOB = {
    *TRAINING,
    "api.wording",
    "jobs.kubernetes.name",
    "jobs.kubernetes.pod_template",
    "jobs.kubernetes.spec",
    "lifecycle.name",
    "operators.kubernetes",
}
SLURM = {*TRAINING, "lifecycle.name", "jobs.slurm.options", "operators.slurm"}

#: Parts of Airflow that are of no use before a task runs. The base of triggers costs as much as all our operators.
OF_TASKS = ("airflow.models", "airflow.providers", "airflow.triggers.base")


def brought_by(module: str, tmp_path: Path) -> list[str]:
    """Return the modules that an import brings, in a process that has imported what every DAG imports."""
    environment = {"AIRFLOW_HOME": str(tmp_path), "PATH": "", "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", IMPORTED, f"{PACKAGE}.{module}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    brought: list[str] = json.loads(done.stdout.splitlines()[-1])
    return brought


def is_of(name: str, root: str) -> bool:
    return name == root or name.startswith(f"{root}.")


@pytest.mark.parametrize(
    ("module", "ours", "foreign"),
    [
        ("hooks.together", LIGHT, {"airflow"}),
        ("operators.gpu_cluster", OPERATORS, {"airflow"}),
        ("operators.kubernetes", JOB, {"airflow"}),
        ("operators.slurm", SLURM, {"airflow"}),
        ("sensors.gpu_cluster", SENSOR, {"airflow"}),
        ("triggers.gpu_cluster", TRIGGER, {"airflow", "pydantic"}),  # the latter by Airflow's base of triggers
    ],
)
def test_an_import_brings_no_engine_and_no_package(
    module: str, ours: set[str], foreign: set[str], tmp_path: Path
) -> None:
    brought = brought_by(module, tmp_path)
    packages = {name.partition(".")[0] for name in brought}
    packages_of_ours = {name.rpartition(".")[0] for name in ours} | {"jobs"}
    brought_of_ours = {name.removeprefix(PACKAGE).removeprefix(".") for name in brought if is_of(name, PACKAGE)}
    assert brought_of_ours - packages_of_ours <= ours
    assert packages - {PACKAGE} - sys.stdlib_module_names <= foreign


@pytest.mark.parametrize(
    "module",
    ["hooks.together", "operators.gpu_cluster", "operators.kubernetes", "operators.slurm", "sensors.gpu_cluster"],
)
def test_what_a_dag_imports_brings_nothing_of_airflow_that_only_tasks_need(module: str, tmp_path: Path) -> None:
    assert [name for name in brought_by(module, tmp_path) if any(is_of(name, root) for root in OF_TASKS)] == []

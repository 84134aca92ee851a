"""Schemathesis holds the emulator against both contracts: no server error, no answer outside the schema."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from airflow_provider_together.emulator import Emulator
from airflow_provider_together.emulator.faults import ROUTES

CONTRACTS = Path(__file__).parents[1] / "contract"
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
    ignored_auth,
    unsupported_method,
]

tcloud = schemathesis.openapi.from_path(str(CONTRACTS / "tcloud.yaml"))
compute = schemathesis.openapi.from_path(str(CONTRACTS / "compute.yaml"))

POSSIBLE: dict[str, Any] = {
    "region": "us-central-8",
    "num_gpus": 16,
    "cuda_version": "12.8",
    "nvidia_driver_version": "570",
    "duration_days": 2,
    "slurm_shm_size_gib": 64,
    "size_tib": 1,
    "volume_name": "data",
    "cluster_name": "training",
    "billing_type": "RESERVED",
    "reservation_end_time": "2100-01-01T00:00:00Z",
}
#: Fields whose rules (what they need beside them, what they name) stand in no schema.
BEYOND_THE_CONTRACT = (
    "add_ons",
    "auto_scale_max_gpus",
    "instance_cluster_id",
    "num_capacity_pool_gpus",
    "num_preemptible_gpus",
    "nvidia_version_id",
)

bounded = hypothesis.settings(
    max_examples=15,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def running() -> Iterator[Emulator]:
    with Emulator(speed=600, seed=1) as emulator:
        yield emulator


def check(case: schemathesis.Case[Any], emulator: Emulator) -> None:
    if is_positive(case):
        make_meaningful(case, emulator)
    # A key would mend a request that is wrong by its lack.
    headers = {"Authorization": f"Bearer {emulator.api_key}"} if is_positive(case, ParameterLocation.HEADER) else {}
    case.call_and_validate(base_url=emulator.url, headers=headers, checks=CHECKS)


def is_positive(case: schemathesis.Case[Any], part: ParameterLocation | None = None) -> bool:
    """Tell whether a request, or a part of it, is meant to be in order."""
    if case.meta is None or (part is not None and part not in case.meta.components):
        return True
    mode = case.meta.generation.mode if part is None else case.meta.components[part].mode
    return mode is GenerationMode.POSITIVE


def make_meaningful(case: schemathesis.Case[Any], emulator: Emulator) -> None:
    """Mean what exists and can be done, which a contract cannot tell: otherwise nearly all answers are refusals."""
    body: dict[str, Any] = case.body if isinstance(case.body, dict) else {}
    if "gpu_type" in body:
        body.pop("volume_id", None)
    alive: dict[str, Any] = {}
    for cluster in emulator.alive():
        alive["cluster_id"] = cluster.cluster_id
    for volume in emulator.volumes():
        if volume.alive and volume.cluster_id is None:
            alive["volume_id"] = volume.volume_id
    for fields in (body, body.get("shared_volume", {}), case.path_parameters or {}):
        fields |= {name: value for name, value in (POSSIBLE | alive).items() if name in fields}
        for name in BEYOND_THE_CONTRACT:
            fields.pop(name, None)


def contract_test(schema: Any, operation: schemathesis.schemas.APIOperation[Any, Any, Any, Any]) -> Any:
    """Return a test of one operation. All operations in one test would share one node id, of which xdist runs one."""

    @schema.include(path=operation.path, method=operation.method).parametrize()  # type: ignore[untyped-decorator]
    @bounded
    def keeps_its_contract(case: schemathesis.Case[Any], running: Emulator) -> None:
        check(case, running)

    return keeps_its_contract


for api, schema in {"older": tcloud, "current": compute}.items():
    for result in schema.get_all_operations():
        operation: Any = result.ok()  # type: ignore[union-attr]
        words = re.sub(r"\W+", "_", operation.label).strip("_")
        globals()[f"test_the_{api}_api_keeps_the_contract_of_{words}"] = contract_test(schema, operation)


def test_neither_was_held_against_refusals_only(running: Emulator) -> None:
    done = {(record.dialect, record.route) for record in running.requests if record.status == 200}
    for dialect in ("tcloud", "compute"):
        for route in ROUTES:
            assert (dialect, route) in done

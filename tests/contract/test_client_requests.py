"""
Our client against a server that was made from the contract alone.

Every request that it can make is checked against the contract, and every answer that the contract allows is read.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_together.api.call import Call
from airflow_provider_together.api.client import AsyncClient, Client
from airflow_provider_together.api.dialects import DIALECTS, Dialect
from airflow_provider_together.api.settings import Settings
from airflow_provider_together.api.specs import ClusterSpec, ClusterUpdate, SharedVolumeSpec
from airflow_provider_together.exceptions import OutcomeUnknownError
from tests.contract.schema import Contract
from tests.contract.server import ContractServer

SEED = ClusterSpec.parse(
    {
        "region": "us-central-8",
        "gpu_type": "H100_SXM",
        "num_gpus": 8,
        "cluster_name": "training",
        "duration_days": 1,
        "driver_version": "CUDA_12_8_570",
        "billing_type": "ON_DEMAND",
    }
)
VOLUME = SharedVolumeSpec(volume_name="data", size_tib=1, region="us-central-8")

#: Everything that a request of the dialect may hold, beside what the seed has.
EXTRAS: dict[str, list[dict[str, Any]]] = {
    "tcloud": [
        {"cluster_type": "SLURM", "shared_volume": {"volume_name": "data", "size_tib": 1}},
        {"cluster_type": "KUBERNETES", "volume_id": "v-1", "billing_type": "RESERVED"},
    ],
    "compute": [
        {
            "cluster_type": "SLURM",
            "slurm_shm_size_gib": 64,
            "slurm_image": "registry/slurm:1",
            "shared_volume": {
                "volume_name": "data",
                "size_tib": 1,
                "is_lifecycle_independent": True,
                "instance_cluster_id": "c-1",
                "project_id": "p-1",
            },
        },
        {
            "driver_version": None,
            "nvidia_version_id": "nv-1",
            "billing_type": "SCHEDULED_CAPACITY",
            "reservation_start_time": "2030-01-01T00:00:00Z",
            "reservation_end_time": "2030-01-02T00:00:00Z",
            "project_id": "p-1",
            "num_reserved_gpus": 8,
            "num_preemptible_gpus": 8,
            "num_capacity_pool_gpus": 8,
            "capacity_pool_id": "pool-1",
            "auto_scale": True,
            "auto_scale_max_gpus": 16,
            "install_traefik": True,
            "volume_id": "v-1",
            "add_ons": [{"add_on_type": "ingress", "name": "web", "config": {"ingress": {"enabled": True}}}],
            "cluster_config": {"load_balancer": "NONE"},
            "acceptance_tests_params": {"enabled": True},
            "oidc_config": {
                "client_id": "a",
                "group_claim": "b",
                "group_prefix": "c",
                "issuer_url": "d",
                "username_claim": "e",
                "username_prefix": "f",
            },
        },
    ],
}
UPDATES: dict[str, list[dict[str, Any]]] = {
    "tcloud": [{"num_gpus": 16}, {"cluster_type": "SLURM"}],
    "compute": [
        {"num_gpus": 16},
        {
            "cluster_type": "SLURM",
            "num_reserved_gpus": 8,
            "num_preemptible_gpus": 0,
            "num_capacity_pool_gpus": 8,
            "reservation_end_time": "2030-01-02T00:00:00Z",
            "add_ons": [{"name": "web"}],
            "cluster_config": {"load_balancer": "NGINX"},
        },
    ],
}


def calls(dialect: Dialect) -> list[Call[Any]]:
    """Every call that the dialect can make, with everything in it that it can hold."""
    specs = [SEED, *(ClusterSpec.parse({**SEED.given(), **extra}) for extra in EXTRAS[dialect.name])]
    return [
        *(dialect.create_cluster(spec) for spec in specs),
        dialect.get_cluster("a/b c"),
        dialect.list_clusters(),
        dialect.list_sights(),
        *(dialect.update_cluster("c-1", ClusterUpdate.parse(update)) for update in UPDATES[dialect.name]),
        dialect.delete_cluster("c-1"),
        dialect.list_regions(),
        dialect.create_shared_volume(VOLUME),
        dialect.get_shared_volume("v-1"),
        dialect.list_shared_volumes(),
        dialect.update_shared_volume("v-1", size_tib=2),
        dialect.delete_shared_volume("v-1"),
    ]


Send = Callable[[ContractServer, Settings], list[Any]]


def send_sync(server: ContractServer, settings: Settings) -> list[Any]:
    results: list[Any] = []
    with Client(settings, transport=server.transport()) as client:
        for call in calls(client.dialect):
            try:
                results.append(client.send(call))
            except OutcomeUnknownError as error:
                results.append(error)
    return results


def send_async(server: ContractServer, settings: Settings) -> list[Any]:
    async def send() -> list[Any]:
        results: list[Any] = []
        async with AsyncClient(settings, transport=server.transport()) as client:
            for call in calls(client.dialect):
                try:
                    results.append(await client.send(call))
                except OutcomeUnknownError as error:
                    results.append(error)
        return results

    return asyncio.run(send())


@pytest.fixture(params=list(DIALECTS))
def settings(request: pytest.FixtureRequest) -> Settings:
    return Settings(base_url="https://contract.invalid", api_key="key", dialect=request.param)


@pytest.mark.parametrize("project_id", ["", "p-9"])
@pytest.mark.parametrize("richness", ["minimal", "full", "hostile"])
@pytest.mark.parametrize("send", [send_sync, send_async])
def test_every_request_keeps_the_contract_and_every_answer_is_read(
    settings: Settings, send: Send, richness: Any, project_id: str
) -> None:
    server = ContractServer(Contract.load(settings.dialect), richness=richness)
    settings = Settings(settings.base_url, settings.api_key, settings.dialect, project_id=project_id)
    results = send(server, settings)
    assert len(results) == len(server.requests)
    unknown = [result for result in results if isinstance(result, OutcomeUnknownError)]
    # The older API may leave out every field of an answer, also the id of what was just made.
    assert bool(unknown) == (richness == "minimal" and settings.dialect == "tcloud")
    assert [error for error in unknown if "create" not in str(error)] == []


def test_every_operation_of_the_contract_is_called(settings: Settings) -> None:
    contract = Contract.load(settings.dialect)
    server = ContractServer(contract, richness="minimal")
    send_sync(server, settings)
    called = {contract.check_request(request).name for request in server.requests}
    assert called == {operation.name for operation in contract.operations}


def test_every_method_of_a_dialect_is_among_the_calls() -> None:
    methods = [name for name, _ in inspect.getmembers(Dialect, inspect.isfunction) if not name.startswith("_")]
    source = inspect.getsource(calls)
    assert [name for name in methods if f"dialect.{name}(" not in source] == []


def test_every_field_of_the_specs_is_sent_to_one_dialect_at_least() -> None:
    sent = set(SEED.given()) | {name for extras in EXTRAS.values() for extra in extras for name in extra}
    assert sent == set(ClusterSpec.model_fields)
    changed = {name for updates in UPDATES.values() for update in updates for name in update}
    assert changed == set(ClusterUpdate.model_fields)

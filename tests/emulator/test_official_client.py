"""Together's own Python client works against the emulator."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
import together
from together import Together

from airflow_provider_together.emulator import Emulator


@pytest.fixture
def client(emulator: Emulator) -> Iterator[Together]:
    with (
        # The machine's proxies have no business between a test and its server.
        httpx.Client(trust_env=False) as http,
        Together(
            base_url=emulator.url,
            api_key=emulator.api_key,
            http_client=http,
            max_retries=0,
            _strict_response_validation=True,
        ) as client,
    ):
        yield client


def create(client: Together, *, name: str = "sdk", num_gpus: int = 8) -> str:
    cluster = client.clusters.create(
        billing_type="ON_DEMAND",
        cluster_name=name,
        gpu_type="H100_SXM",
        num_gpus=num_gpus,
        region="us-central-8",
        cuda_version="12.8",
        nvidia_driver_version="570",
    )
    return cluster.cluster_id


def test_it_creates_retrieves_and_lists_clusters(client: Together, emulator: Emulator) -> None:
    cluster_id = create(client, num_gpus=16)
    emulator.advance(3600)
    cluster = client.clusters.retrieve(cluster_id)
    assert (cluster.status, cluster.num_gpus, len(cluster.gpu_worker_nodes)) == ("Ready", 16, 2)
    assert cluster.phase_transitions[-1].phase == "CLUSTER_PHASE_READY"
    assert [each.cluster_id for each in client.clusters.list().clusters] == [cluster_id]


def test_it_creates_with_a_version_from_the_catalogue(client: Together) -> None:
    region = client.clusters.list_regions().regions[0]
    version = region.driver_versions[0]
    cluster = client.clusters.create(
        billing_type="RESERVED",
        duration_days=2,
        cluster_name="catalogue",
        gpu_type="B200_SXM",
        num_gpus=8,
        region=region.name,
        nvidia_version_id=version.id,
    )
    assert cluster.cuda_version == version.cuda_version
    assert cluster.duration_hours == 48


def test_it_resizes_a_cluster(client: Together, emulator: Emulator) -> None:
    cluster_id = create(client)
    emulator.advance(3600)
    assert client.clusters.update(cluster_id, num_gpus=24).status == "WaitingForDataPlaneNodes"
    emulator.advance(3600)
    assert len(client.clusters.retrieve(cluster_id).gpu_worker_nodes) == 3


def test_it_deletes_a_cluster(client: Together, emulator: Emulator) -> None:
    cluster_id = create(client)
    assert client.clusters.delete(cluster_id).cluster_id == cluster_id
    assert client.clusters.retrieve(cluster_id).status == "Deleting"
    emulator.advance(61)
    with pytest.raises(together.NotFoundError):
        client.clusters.retrieve(cluster_id)
    assert client.clusters.list().clusters == []


def test_it_handles_volumes(client: Together, emulator: Emulator) -> None:
    storage = client.clusters.storage
    volume_id = storage.create(region="us-central-8", size_tib=2, volume_name="data").volume_id
    emulator.advance(61)
    assert storage.retrieve(volume_id).status == "available"
    assert storage.update(volume_id=volume_id, size_tib=3).size_tib == 3
    assert [volume.volume_id for volume in storage.list().volumes] == [volume_id]
    assert storage.delete(volume_id).success
    assert storage.list().volumes == []


def test_it_understands_refusals(client: Together, emulator: Emulator) -> None:
    with pytest.raises(together.BadRequestError, match="num_gpus=12"):
        create(client, num_gpus=12)
    with pytest.raises(together.AuthenticationError):
        client.with_options(api_key="wrong").clusters.list()
    assert emulator.clusters() == []

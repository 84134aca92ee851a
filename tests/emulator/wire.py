"""
The smallest HTTP client of either dialect, for tests that say the same of both.

It knows paths and bodies by itself, so that the tests hold the emulator against something that is not our client.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import httpx

from airflow_provider_together.emulator import Emulator
from tests.contract.schema import Contract, DialectName

_PATHS = {
    "tcloud": {
        "cluster": "/api/v1/gpu_cluster",
        "clusters": "/api/v1/gpu_clusters",
        "volume": "/api/v1/shared_volume",
        "volumes": "/api/v1/shared_volumes",
        "regions": "/api/v1/regions",
    },
    "compute": {
        "cluster": "/v1/compute/clusters",
        "clusters": "/v1/compute/clusters",
        "volume": "/v1/compute/clusters/storage/volumes",
        "volumes": "/v1/compute/clusters/storage/volumes",
        "regions": "/v1/compute/regions",
    },
}
_SOFTWARE = {
    "tcloud": {"driver_version": "CUDA_12_8_570"},
    "compute": {"cuda_version": "12.8", "nvidia_driver_version": "570"},
}


class Wire:
    """A client of one dialect of an emulator."""

    def __init__(self, emulator: Emulator, dialect: DialectName, *, key: str | None = None) -> None:
        self.dialect = dialect
        self.paths = _PATHS[dialect]
        self.contract = Contract.load(dialect)
        #: False for a while, where a fault breaks the contract.
        self.is_checked = True
        headers = {"Authorization": f"Bearer {emulator.api_key if key is None else key}"}
        # The machine's proxies have no business between a test and its server.
        self.http = httpx.Client(base_url=emulator.url, headers=headers, trust_env=False, timeout=20)
        self.http.event_hooks["response"] = [self._check_answer]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.close()

    def _check_answer(self, response: httpx.Response) -> None:
        """Hold every answer against the contract, whatever a test is about."""
        response.read()
        if self.is_checked:
            self.contract.check_response(response.request, response)

    def request_body(self, **changes: Any) -> dict[str, Any]:
        """Return the body of a create that is in order, but for the changes; None leaves a field out."""
        body = {
            "region": "us-central-8",
            "gpu_type": "H100_SXM",
            "num_gpus": 8,
            "cluster_name": "training",
            "duration_days": 1,
            "billing_type": "ON_DEMAND",
            **_SOFTWARE[self.dialect],
            **changes,
        }
        return {name: value for name, value in body.items() if value is not None}

    def post_cluster(self, **changes: Any) -> httpx.Response:
        return self.http.post(self.paths["cluster"], json=self.request_body(**changes))

    def create(self, **changes: Any) -> str:
        """Create a cluster; the result is its id."""
        return str(_body(self.post_cluster(**changes))["cluster_id"])

    def get_response(self, cluster_id: str) -> httpx.Response:
        return self.http.get(f"{self.paths['cluster']}/{cluster_id}")

    def get(self, cluster_id: str) -> dict[str, Any]:
        return _body(self.get_response(cluster_id))

    def status(self, cluster_id: str) -> str:
        return str(self.get(cluster_id)["status"])

    def listed(self, **query: str) -> list[str]:
        clusters = _body(self.http.get(self.paths["clusters"], params=query))["clusters"]
        return [cluster["cluster_id"] for cluster in clusters]

    def resize(self, cluster_id: str, num_gpus: int) -> httpx.Response:
        if self.dialect == "tcloud":
            return self.http.put(self.paths["cluster"], json={"cluster_id": cluster_id, "num_gpus": num_gpus})
        return self.http.put(f"{self.paths['cluster']}/{cluster_id}", json={"num_gpus": num_gpus})

    def delete(self, cluster_id: str) -> httpx.Response:
        return self.http.delete(f"{self.paths['cluster']}/{cluster_id}")

    def post_volume(self, **changes: Any) -> httpx.Response:
        body = {"volume_name": "data", "size_tib": 2, "region": "us-central-8", **changes}
        return self.http.post(self.paths["volume"], json=body)

    def create_volume(self, **changes: Any) -> str:
        return str(_body(self.post_volume(**changes))["volume_id"])

    def get_volume(self, volume_id: str) -> httpx.Response:
        return self.http.get(f"{self.paths['volume']}/{volume_id}")

    def grow_volume(self, volume_id: str, size_tib: int) -> httpx.Response:
        return self.http.put(self.paths["volume"], json={"volume_id": volume_id, "size_tib": size_tib})

    def delete_volume(self, volume_id: str) -> httpx.Response:
        return self.http.delete(f"{self.paths['volume']}/{volume_id}")

    def listed_volumes(self, **query: str) -> list[str]:
        volumes = _body(self.http.get(self.paths["volumes"], params=query))["volumes"]
        return [volume["volume_id"] for volume in volumes]


def error_of(response: httpx.Response) -> dict[str, Any]:
    """Return the error that an answer tells, in the form that is the default."""
    error: dict[str, Any] = response.json()["error"]
    return error


def _body(response: httpx.Response) -> dict[str, Any]:
    response.raise_for_status()
    body: dict[str, Any] = response.json()
    return body

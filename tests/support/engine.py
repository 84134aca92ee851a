"""
Values that the tests of the engine need again and again: settings, calls, answers, clusters, specs.

Kept apart from the fixtures since hypothesis' tests and tables need plain functions. It imports no test.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import httpx
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from airflow_provider_together.api.answer import HTTPAnswer
from airflow_provider_together.api.call import Call
from airflow_provider_together.api.dialects import DIALECTS, Dialect, wire
from airflow_provider_together.api.models import Cluster
from airflow_provider_together.api.settings import Settings
from airflow_provider_together.api.specs import ClusterSpec, ClusterUpdate, SharedVolumeSpec

#: For each property test. Derandomised: one that fails for one person fails for everybody. Without a deadline,
#: since machines differ; without a database, since a run leaves nothing behind.
FIXED = settings(derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])

E = TypeVar("E", bound=BaseException)

#: Secrets that must never be seen anywhere.
CANARY_KEY = "sk-canary-0123456789abcdef"
CANARY_KUBECONFIG = "apiVersion: v1\nusers: [{user: {token: canary-of-kubeconfig}}]"

BOTH = sorted(DIALECTS)


def settings_with(**changes: Any) -> Settings:
    """Return settings of a connection that leads nowhere, changed as wanted."""
    values = {"base_url": "https://together.invalid", "api_key": CANARY_KEY, "retries": 2, "timeout": 5.0}
    return Settings(**{**values, **changes})


def dialect_named(name: str) -> Dialect:
    """Return a dialect without a project."""
    return DIALECTS[name]()


def call_with(method: str = "GET", **changes: Any) -> Call[Any]:
    """Return a call as the dialects make them: only a POST may not be repeated."""
    values = {"what": "do something", "path": "/things/1", "read": wire.read_cluster}
    return Call(**{**values, "method": method, "is_repeatable": method != "POST", **changes})


def answer_with(status: int = 200, body: Any = None, *, content: bytes | None = None, **headers: str) -> HTTPAnswer:
    """Return what a server said: a JSON body, or bytes as they are; header names with ``_`` for ``-``."""
    named = httpx.Headers({name.replace("_", "-"): value for name, value in headers.items()})
    return HTTPAnswer(status, named, json.dumps(body).encode() if content is None else content)


def cluster_with(cluster_id: str = "c-1", **fields: Any) -> Cluster:
    """Return a cluster as an answer would give it."""
    return wire.read_cluster({"cluster_id": cluster_id, "status": "Ready", **fields})


def spec_with(**changes: Any) -> ClusterSpec:
    """Return a spec that both dialects accept, changed as wanted."""
    return ClusterSpec.parse({**SPEC_FIELDS, **changes})


SPEC_FIELDS: dict[str, Any] = {
    "region": "us-central-8",
    "gpu_type": "H100_SXM",
    "num_gpus": 8,
    "cluster_name": "train",
    "billing_type": "ON_DEMAND",
    "duration_days": 1,
    "driver_version": "CUDA_12_8_570",
}
VOLUME_SPEC = SharedVolumeSpec.parse({"volume_name": "data", "size_tib": 2, "region": "us-central-8"})


def all_calls(dialect: Dialect) -> dict[str, Call[Any]]:
    """Return one call of every operation, by the operation's name."""
    return {
        "create_cluster": dialect.create_cluster(spec_with()),
        "get_cluster": dialect.get_cluster("c-1"),
        "list_clusters": dialect.list_clusters(),
        "list_sights": dialect.list_sights(),
        "update_cluster": dialect.update_cluster("c-1", ClusterUpdate.parse({"num_gpus": 16})),
        "delete_cluster": dialect.delete_cluster("c-1"),
        "list_regions": dialect.list_regions(),
        "create_shared_volume": dialect.create_shared_volume(VOLUME_SPEC),
        "get_shared_volume": dialect.get_shared_volume("v-1"),
        "list_shared_volumes": dialect.list_shared_volumes(),
        "update_shared_volume": dialect.update_shared_volume("v-1", size_tib=4),
        "delete_shared_volume": dialect.delete_shared_volume("v-1"),
    }


def json_values() -> st.SearchStrategy[Any]:
    """Return any JSON value, numbers of any size and lone surrogates among them."""
    text = st.text(st.characters(codec=None), max_size=12)
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | text
    return st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3))


def subclasses_of(root: type[E]) -> Iterator[type[E]]:
    """Walk a class and everything derived from it."""
    yield root
    for child in root.__subclasses__():
        yield from subclasses_of(child)


#: Every error that a transport of httpx may raise, in the version that is installed.
TRANSPORT_ERRORS = list(dict.fromkeys(subclasses_of(httpx.TransportError)))


def reply_json(body: Any, *, status: int = 200) -> Callable[[httpx.Request], httpx.Response]:
    """Return a handler for ``httpx.MockTransport`` that always answers the same."""
    return lambda _: httpx.Response(status, json=body)

"""
The loopback server, in a process of its own, so that no figure contains its cost.

One made-up cloud, told in the words of each peer: cluster ``i`` waits until its moment and is READY from then on.

=================================  ===================================================================
``/api/v1/gpu_clusters``           Together's list: all clusters that are waited for, and READY bystanders
``/api/v1/gpu_cluster/ID``         Together's Get; a waiting cluster has 1.2 kB, a READY one 3.3 kB
``/v1/compute/clusters/ID``        the same in Together's newer API, which the official SDK speaks
``/ready/ID``                      404 until the cluster is READY, as the http provider's sensor wants it
``/api/2.2/jobs/runs/get``         a run of Databricks that ends when the cluster is READY
``/api/2.0/sql/statements/ID``     a statement of Databricks that ends then
=================================  ===================================================================

Every answer takes the given delay. ``/benchmark`` is for the benchmarks themselves: it sets what a POST holds and
tells the counters. Moments are those of ``time.monotonic``, which all processes of a machine share. Standard library
only. The server ends with its standard input.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import re
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
#: A prime, so that the clusters become READY in an order of no relation to that in which they came.
_STRIDE = 7919
_FIRST_BYSTANDER = 0xF0000000


def cluster_id(index: int) -> str:
    return f"{index:08x}-0000-4000-8000-000000000000"


def index_of(cluster: str) -> int:
    return int(cluster[:8], 16)


def ready_moment(index: int, *, count: int, start: float, span: float) -> float:
    """Return when a cluster becomes READY, if all of them do so evenly over a span; later ones are READY already."""
    return start + span * (index * _STRIDE % count) / count if index < count else -math.inf


def cluster(index: int, *, is_ready: bool) -> dict[str, Any]:
    """Return a cluster with two workers of eight GPUs as Together's older API tells of it."""
    node = {"status": "ready" if is_ready else "provisioning", "memory_gib": 1800.0, "num_cpu_cores": 192}
    names = [f"train-{index:08x}-{role}" for role in ("control-plane-0", "gpu-worker-0", "gpu-worker-1")]
    ids = [{"node_id": f"{name}-5c1f", "node_name": name, "host_name": f"{name}.internal"} for name in names]
    return {
        "cluster_id": cluster_id(index),
        "cluster_name": f"train-{index:08x}",
        "cluster_type": "KUBERNETES",
        "region": "us-central-8",
        "gpu_type": "H100_SXM",
        "num_gpus": 16,
        "driver_version": "CUDA_12_8_570",
        "duration_hours": 24,
        "status": "READY" if is_ready else "WAITING_DATA_PLANE",
        "volumes": [{"volume_id": f"vol-{index:08x}", "volume_name": "data", "size_tib": 10, "status": "available"}],
        "control_plane_nodes": [{**ids[0], **node, "network": "10.0.0.0/16"}],
        "gpu_worker_nodes": [{**one, **node, "num_gpus": 8, "networks": ["10.0.0.0/16", "ib0"]} for one in ids[1:]],
        "kube_config": "YXBp" * 520 if is_ready else "",
    }


def compute_cluster(index: int, *, is_ready: bool) -> dict[str, Any]:
    """Return the same cluster as Together's newer API tells of it."""
    body = cluster(index, is_ready=is_ready)
    nodes = {
        kind: [{**node, "phase_transitions": []} for node in body[kind]]
        for kind in ("control_plane_nodes", "gpu_worker_nodes")
    }
    return {
        **body,
        **nodes,
        "status": "Ready" if is_ready else "WaitingForDataPlaneNodes",
        "add_ons": [],
        "billing_type": "ON_DEMAND",
        "cluster_config": {"load_balancer": "NONE"},
        "created_at": "2026-01-01T00:00:00Z",
        "cuda_version": "12.8",
        "nvidia_driver_version": "570",
        "phase_transitions": [],
        "project_id": "project",
    }


def databricks_run(index: int, *, is_ready: bool) -> dict[str, Any]:
    """Return a run of Databricks with one task."""
    state = {"life_cycle_state": "RUNNING", "state_message": "In run", "user_cancelled_or_timedout": False}
    if is_ready:
        state |= {"life_cycle_state": "TERMINATED", "result_state": "SUCCESS", "state_message": ""}
    task = {"run_id": index + 1, "task_key": "train", "state": state, "notebook_task": {"notebook_path": "/train"}}
    return {
        "job_id": index + 1,
        "run_id": index + 1,
        "run_name": "train",
        "state": state,
        "tasks": [{**task, "cluster_instance": {"cluster_id": cluster_id(index)}, "start_time": 1700000000000}],
        "start_time": 1700000000000,
        "setup_duration": 0,
        "creator_user_name": "someone@example.com",
        "run_page_url": f"https://example.com/run/{index + 1}",
        "format": "MULTI_TASK",
    }


def databricks_statement(index: int, *, is_ready: bool) -> dict[str, Any]:
    """Return a SQL statement of Databricks."""
    return {"statement_id": cluster_id(index), "status": {"state": "SUCCEEDED" if is_ready else "RUNNING"}}


#: What a path tells of that ends with a cluster's id.
_SHAPES: dict[str, Callable[..., dict[str, Any]]] = {
    "/api/v1/gpu_cluster": cluster,
    "/v1/compute/clusters": compute_cluster,
    "/ready": cluster,
    "/api/2.0/sql/statements": databricks_statement,
}


class Cloud:
    """What is answered, and how often something was asked."""

    def __init__(self, *, clusters: int, bystanders: int) -> None:
        self.count = clusters
        self.start, self.span = math.inf, 0.0
        #: Whether no two lists are the same.
        self.is_restless = False
        self.fault: dict[str, Any] = {}
        self.fault_ends = -math.inf
        self.counters = {"requests": 0, "lists": 0, "faults": 0, "connections": 0}
        self._bodies: dict[tuple[Any, int, bool], bytes] = {}
        self._lists: dict[bool, bytes] = {}
        self._bystanders = [
            json.dumps(cluster(_FIRST_BYSTANDER + n, is_ready=True)).encode() for n in range(bystanders)
        ]

    def answer(self, path: str, body: bytes) -> tuple[int, bytes, float]:
        """Return status, body and, for a fault, the seconds that Retry-After asks for."""
        self.counters["requests"] += 1
        if time.monotonic() < self.fault_ends:
            self.counters["faults"] += 1
            return self.fault["status"], b'{"error":{"message":"try again later"}}', self.fault["retry_after"]
        return *self._answer(path, body), 0.0

    def control(self, body: bytes) -> bytes:
        """Set what is to happen, and return the counters."""
        wanted = json.loads(body or b"{}")
        if ready := wanted.get("ready"):
            self.start, self.span = ready["start"], ready["span"]
            self._lists.clear()
        self.is_restless = wanted.get("is_restless", self.is_restless)
        if fault := wanted.get("fault"):
            self.fault, self.fault_ends = fault, time.monotonic() + fault["seconds"]
        return json.dumps({**self.counters, "now": time.monotonic()}).encode()

    def _answer(self, path: str, body: bytes) -> tuple[int, bytes]:
        place, _, query = path.partition("?")
        kind, _, last = place.rpartition("/")
        if place == "/api/v1/gpu_clusters":
            return 200, self._list()
        if place == "/api/2.2/jobs/runs/get":
            run_id = json.loads(body)["run_id"] if body else query.rpartition("run_id=")[2]
            return 200, self._one(databricks_run, int(run_id) - 1)
        if kind in _SHAPES:
            index = index_of(last)
            is_hidden = kind == "/ready" and not self._is_ready(index)
            return (404 if is_hidden else 200), self._one(_SHAPES[kind], index)
        return 404, b'{"error":{"message":"no such path"}}'

    def _is_ready(self, index: int) -> bool:
        return time.monotonic() >= ready_moment(index, count=self.count, start=self.start, span=self.span)

    def _one(self, shape: Callable[..., dict[str, Any]], index: int) -> bytes:
        key = (shape, index, self._is_ready(index))
        if key not in self._bodies:
            self._bodies[key] = json.dumps(shape(index, is_ready=key[2])).encode()
        return self._bodies[key]

    def _list(self) -> bytes:
        self.counters["lists"] += 1
        body = self._settled_list()
        if not self.is_restless:
            return body
        one = {**cluster(_FIRST_BYSTANDER - 1, is_ready=True), "cluster_name": f"list-{self.counters['lists']}"}
        return body[:-2] + b"," + json.dumps(one).encode() + b"]}"

    def _settled_list(self) -> bytes:
        now = time.monotonic()
        is_settled = not self.start <= now < self.start + self.span
        if is_settled and (now >= self.start) in self._lists:
            return self._lists[now >= self.start]
        bodies = [self._one(cluster, index) for index in range(self.count)] + self._bystanders
        body = b'{"clusters":[' + b",".join(bodies) + b"]}"
        if is_settled:
            self._lists[now >= self.start] = body
        return body


class Connection(asyncio.Protocol):
    """One keep-alive connection."""

    def __init__(self, cloud: Cloud, delay: float) -> None:
        self._cloud = cloud
        self._delay = delay
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._cloud.counters["connections"] += 1

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            length = _CONTENT_LENGTH.search(head)
            stop = end + 4 + (int(length[1]) if length else 0)
            if len(self._buffer) < stop:
                return
            body, self._buffer = self._buffer[end + 4 : stop], self._buffer[stop:]
            self._answer(head.split(b" ", 2)[1].decode(), body)

    def _answer(self, path: str, body: bytes) -> None:
        if path == "/benchmark":
            self._reply(200, self._cloud.control(body), 0.0)
        else:
            asyncio.get_running_loop().call_later(self._delay, self._reply, *self._cloud.answer(path, body))

    def _reply(self, status: int, body: bytes, retry_after: float) -> None:
        if self._transport.is_closing():
            return
        lines = [f"HTTP/1.1 {status} Status", "Content-Type: application/json", f"Content-Length: {len(body)}"]
        if retry_after:
            lines.append(f"Retry-After: {retry_after:g}")
        self._transport.write("\r\n".join([*lines, "", ""]).encode() + body)


def allow_many_sockets() -> None:
    """Raise the limit of open files to what this user may have: some peers keep a connection for each who waits."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most if most != resource.RLIM_INFINITY else 65536, most))


async def serve(cloud: Cloud, delay: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(cloud, delay), "127.0.0.1", 0, backlog=8192)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("clusters", type=int)
    parser.add_argument("bystanders", type=int)
    parser.add_argument("delay", type=float)
    given = parser.parse_args()
    allow_many_sockets()
    asyncio.run(serve(Cloud(clusters=given.clusters, bystanders=given.bystanders), given.delay))

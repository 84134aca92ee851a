"""A driver that runs flows against a Kubernetes of dictionaries, in a time of its own."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from airflow_provider_together.api.call import Call, Flow, Note, Pause
from airflow_provider_together.api.client import drive
from airflow_provider_together.exceptions import TogetherError
from airflow_provider_together.jobs.cluster import ClusterQuestion
from airflow_provider_together.jobs.kubernetes.api import read_answer
from airflow_provider_together.jobs.kubernetes.manifests import merged

T = TypeVar("T")


@dataclass
class Kubernetes:
    """
    An API server that remembers what it is sent.

    :param containers: those whose logs were read.
    :param removal_looks: how often a deleted Job is still seen.
    """

    removal_looks: int = 0
    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    pods: list[dict[str, Any]] = field(default_factory=list)
    nodes: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    logs: dict[str, str] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    containers: list[str] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    faults: dict[str, list[int | TogetherError]] = field(default_factory=dict)
    is_cluster_gone: str = ""
    now: float = 1000.0
    at: dict[float, Callable[[], None]] = field(default_factory=dict)
    _uids: int = 0

    def run(self, flow: Flow[T]) -> T:
        """Run a flow to its end, as the drivers do."""
        return drive(flow, self._do)

    @property
    def told(self) -> list[str]:
        return [note.message for note in self.notes if note.message]

    def add(self, path: str, manifest: dict[str, Any]) -> dict[str, Any]:
        """Put an object there, as a create does."""
        self._uids += 1
        added = copy.deepcopy(manifest)
        added["metadata"].setdefault("uid", f"u{self._uids}")
        self.objects[f"{path}/{added['metadata']['name']}"] = added
        return added

    def fail(self, call: str, *faults: int | TogetherError) -> None:
        """Answer the next calls that begin so with these statuses, or not at all."""
        self.faults.setdefault(call, []).extend(faults)

    def _do(self, step: Any) -> Any:
        if isinstance(step, Call):
            return self._answer(step)
        if isinstance(step, ClusterQuestion):
            return self.is_cluster_gone
        if isinstance(step, Note):
            self.notes.append(step)
            return None
        assert isinstance(step, Pause)
        self.now += step.seconds
        for time in [time for time in self.at if time <= self.now]:
            self.at.pop(time)()
        return self.now

    def _answer(self, call: Call[Any]) -> Any:
        name = f"{call.method} {call.path.rpartition('/namespaces/default/')[2] or call.path}"
        self.calls.append(name)
        for begin, faults in self.faults.items():
            if name.startswith(begin) and faults:
                fault = faults.pop(0)
                if isinstance(fault, TogetherError):
                    raise fault
                return read_answer(call, fault, {}, b'{"kind": "Status", "message": "as the test wants"}')
        status, body = self._serve(call)
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return read_answer(call, status, {}, content)

    def _serve(self, call: Call[Any]) -> tuple[int, Any]:
        kind = call.path.rpartition("/")[2]
        if kind in {"pods", "events", "nodes"}:
            added = [thing for path, thing in self.objects.items() if path.startswith(f"{call.path}/")]
            return 200, {"items": [*getattr(self, kind), *added]}
        if kind == "log":
            return self._log(call)
        if call.method == "POST":
            return self._create(call)
        known = self.objects.get(call.path)
        return (404, {}) if known is None else self._serve_known(call, known)

    def _create(self, call: Call[Any]) -> tuple[int, Any]:
        assert call.body is not None
        body = dict(call.body)
        if f"{call.path}/{body['metadata']['name']}" in self.objects:
            return 409, {}
        return 201, self.add(call.path, body)

    def _serve_known(self, call: Call[Any], known: dict[str, Any]) -> tuple[int, Any]:
        if call.method == "PATCH":
            assert call.body is not None
            self.objects[call.path] = merged(known, call.body)
        elif call.method == "DELETE":
            wanted = ((call.body or {}).get("preconditions") or {}).get("uid")
            if wanted not in {None, known["metadata"]["uid"]}:
                return 409, {}
            known["metadata"]["deletionTimestamp"] = "now"
            if not self.removal_looks:
                del self.objects[call.path]
        elif "deletionTimestamp" in known["metadata"]:
            self.removal_looks -= 1
            if self.removal_looks <= 0:
                del self.objects[call.path]
        return 200, known

    def _log(self, call: Call[Any]) -> tuple[int, Any]:
        name = call.path.split("/")[-2]
        self.containers.append(call.params["container"])
        if name not in self.logs:
            return 404, {}
        lines = self.logs[name].splitlines(keepends=True)
        since = call.params.get("sinceTime", "").removesuffix("Z")
        chosen = [line for line in lines if line >= since][-int(call.params.get("tailLines", "1000000")) :]
        return 200, "".join(chosen).encode()[: int(call.params.get("limitBytes", "1000000"))]

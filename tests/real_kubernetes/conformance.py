"""
Asking a Kubernetes server, and writing down what of its answers clients depend on.

Separate from what is asked (``scenarios/``): the same scenario runs against the real server and against the
emulator, and what was written down is compared. What is made up anew in each server, such as a uid or a time, counts
as the same wherever both have it.
"""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

_REQUEST_SECONDS = 15.0
_PATIENCE_SECONDS = 20.0
_LOOK_INTERVAL = 0.1
#: The channel of exec on which its outcome comes.
_RESULT = 3

#: Values that no two servers share.
_MADE_UP = frozenset(
    {
        "uid",
        "controller-uid",
        "resourceVersion",
        "creationTimestamp",
        "deletionTimestamp",
        "startTime",
        "completionTime",
        "lastTransitionTime",
        "lastProbeTime",
        "continue",
    }
)


@dataclass(frozen=True)
class Server:
    """A Kubernetes API, as its kubeconfig leads to it."""

    client: httpx.Client
    #: What its certificate is checked with.
    trust: ssl.SSLContext
    #: Names of this run, so that a server may be asked twice.
    suffix: str


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    body: Any

    def __getitem__(self, path: str) -> Any:
        """Return what is at a dotted path; None where nothing is."""
        return _at(self.body, path.split("."))


@dataclass
class Ask:
    """
    Sends a scenario's requests to one server and writes down its answers.

    :param server: whom to ask.
    """

    server: Server
    transcript: list[dict[str, Any]] = field(default_factory=list)

    def name(self, name: str) -> str:
        """Return a name that nothing else on this server has."""
        return f"{name}-{self.server.suffix}"

    def __call__(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        look_at: Iterable[str] = (),
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
        **parameters: object,
    ) -> Answer:
        """
        Send one request and write down its answer: the status, a ``Status``, and the fields at the given paths.

        :param look_at: dotted paths into the answer; ``[]`` stands for each item of a list.
        :param body: sent as JSON, unless it is bytes.
        """
        answer = self.quietly(method, path, body, content_type=content_type, headers=headers, **parameters)
        shown = "&".join(f"{key}={value}" for key, value in parameters.items())
        self.transcript.append(
            {"asked": self._anonymous(f"{method} {path}?{shown}"), **self._anonymous(_essence(answer, look_at))}
        )
        return answer

    def quietly(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
        **parameters: object,
    ) -> Answer:
        """Send one request and write nothing down."""
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        response = self.server.client.request(
            method,
            _url(self.server.client, path),
            content=content,
            params={key: str(value) for key, value in parameters.items()},
            headers={**({} if content is None else {"Content-Type": content_type}), **(headers or {})},
            timeout=_REQUEST_SECONDS,
        )
        try:
            return Answer(response.status_code, response.json())
        except ValueError:
            return Answer(response.status_code, response.text)

    def patch(self, path: str, body: object, kind: str = "merge-patch", **more: Any) -> Answer:
        """Send a patch of a kind."""
        return self("PATCH", path, body, content_type=f"application/{kind}+json", **more)

    def watch(self, path: str, **parameters: object) -> Iterator[tuple[str, str]]:
        """Yield what a watch tells, as type and name; until the server ends it."""
        with self.server.client.stream(
            "GET",
            _url(self.server.client, path),
            params={"watch": "True", **{key: str(value) for key, value in parameters.items()}},
            timeout=_REQUEST_SECONDS,
        ) as response:
            for line in response.iter_lines():
                event = json.loads(line)
                yield event["type"], event["object"]["metadata"].get("name", "")

    def execute(self, path: str, *command: str, subprotocol: str = "v4.channel.k8s.io", **parameters: object) -> None:
        """Execute a command in a container, and write down what comes back on each channel."""
        query = [("command", word) for word in command] + [(key, str(value)) for key, value in parameters.items()]
        url = httpx.URL(_url(self.server.client, path), params=query).copy_with(scheme="wss")
        headers = {"Authorization": self.server.client.headers["Authorization"]}
        channels: dict[int, bytes] = {}
        try:
            with connect(
                str(url),
                ssl=self.server.trust,
                additional_headers=headers,
                subprotocols=[Subprotocol(subprotocol)],
                open_timeout=_REQUEST_SECONDS,
            ) as socket:
                spoken = socket.subprotocol
                for message in socket:
                    assert isinstance(message, bytes)
                    channels[message[0]] = channels.get(message[0], b"") + message[1:]
        except InvalidStatus as refusal:
            self.note(f"exec {command}", {"status": refusal.response.status_code})
            return
        found = {str(number): text.decode() for number, text in channels.items() if number != _RESULT and text}
        result = json.loads(channels.get(_RESULT, b"null"))
        self.note(f"exec {command}", {"spoken": spoken, "channels": found, "result": result})

    def eventually(self, what: str, look: Callable[[], Any], expected: Any) -> None:
        """Write down what something is at last: the expected, or what it was when patience ended."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while (found := look()) != expected and time.monotonic() < deadline:
            time.sleep(_LOOK_INTERVAL)
        self.note(what, found)

    def note(self, what: str, value: Any) -> None:
        """Write down anything else."""
        self.transcript.append({"noted": what, "value": self._anonymous(value)})

    def _anonymous(self, value: Any) -> Any:
        """Leave this run's part of the names out."""
        return json.loads(json.dumps(value).replace(f"-{self.server.suffix}", ""))


def differences(real: Sequence[dict[str, Any]], emulated: Sequence[dict[str, Any]]) -> list[str]:
    """Return a line for each answer that differs."""
    lines = [
        f"{_title(one)}\n    real:     {_rest(one, other)}\n    emulated: {_rest(other, one)}"
        for one, other in zip(real, emulated, strict=False)
        if one != other
    ]
    if len(real) != len(emulated):
        lines.append(f"the real server gave {len(real)} answers, the emulator {len(emulated)}")
    return lines


def _title(entry: Mapping[str, Any]) -> str:
    return str(entry.get("asked", entry.get("noted")))


def _rest(entry: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    return json.dumps({key: value for key, value in entry.items() if key not in other or other[key] != value})


def _url(client: httpx.Client, path: str) -> str:
    return f"{str(client.base_url).rstrip('/')}{path}"


def _essence(answer: Answer, look_at: Iterable[str]) -> dict[str, Any]:
    essence: dict[str, Any] = {"status": answer.status}
    if not isinstance(answer.body, dict):
        return {**essence, "form": "text"}
    essence["kind"] = answer.body.get("kind")
    if answer.body.get("kind") == "Status":
        essence |= {key: answer.body.get(key) for key in ("code", "reason")} | {"outcome": answer.body.get("status")}
        details = answer.body.get("details") or {}
        essence["about"] = details.get("name")
        essence["causes"] = sorted({cause.get("field") for cause in details.get("causes") or ()})
        if answer.body.get("reason") in {"NotFound", "AlreadyExists"}:
            essence["message"] = answer.body.get("message")
    return essence | {path: _neutral(_at(answer.body, path.split(".")), path.split(".")[-1]) for path in look_at}


def _at(value: Any, keys: Sequence[str]) -> Any:
    if not keys:
        return value
    key, is_list = keys[0].removesuffix("[]"), keys[0].endswith("[]")
    inner = value.get(key) if isinstance(value, Mapping) else None
    if is_list:
        return [_at(item, keys[1:]) for item in inner or ()]
    return _at(inner, keys[1:])


def _neutral(value: Any, key: str) -> Any:
    """Put a mark where a value is made up anew by each server; what is empty may be left out."""
    if value in ({}, [], ""):
        return None
    if isinstance(value, dict):
        return {name: _neutral(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [_neutral(inner, key) for inner in value]
    return f"<{key}>" if key in _MADE_UP and value else value

"""
The HTTP side of both dialects: paths, keys, JSON, and the faults of answers and connections.

It decides nothing about clusters: that is ``state.py``, reached through the dialects' operations. It imports
Starlette, and nothing of uvicorn but the breaking of connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from airflow_provider_together.emulator import compute, tcloud
from airflow_provider_together.emulator.connection import break_connection
from airflow_provider_together.emulator.control import control_routes
from airflow_provider_together.emulator.errors import (
    ForbiddenError,
    InvalidRequestError,
    MethodError,
    RefusedError,
    UnauthenticatedError,
    UnknownResourceError,
    error_body,
    injected_body,
)
from airflow_provider_together.emulator.faults import Fault
from airflow_provider_together.emulator.identity import IdSource
from airflow_provider_together.emulator.operation import Call, Operation, show_words
from airflow_provider_together.emulator.simulation import Simulation

_OK = 200
_MALFORMED = b'{"clusters": [{"cluster_id": '


def make_app(simulation: Simulation) -> Starlette:
    """Return the ASGI application of an emulated cloud: both dialects, and ``/_emulator/``."""
    by_path: dict[str, dict[str, Operation]] = {}
    for operation in (*tcloud.operations(), *compute.operations()):
        by_path.setdefault(operation.path, {})[operation.method] = operation
    # Another seed than the world's, or the first request would have the id of the first cluster.
    seed = simulation.options.seed
    new_id = IdSource(seed=None if seed is None else ~seed).new
    paths = [*by_path.items(), ("/{path:path}", {})]
    routes = [Route(path, Endpoint(simulation, operations, new_id=new_id)) for path, operations in paths]
    app = Starlette(routes=[*control_routes(simulation), *routes])
    # Set by the server when it is to stop, so that no latency holds it up.
    app.state.stopping = asyncio.Event()
    # A path with a slash at its end is another path: the real API is not known to be lenient.
    app.router.redirect_slashes = False
    return app


@dataclass(kw_only=True)
class Answer:
    """What is to be sent."""

    status: int = _OK
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Endpoint:
    """
    One path, as an ASGI application.

    :param simulation: the cloud behind it.
    :param operations: method to operation; empty for a path that does not exist.
    :param new_id: makes request ids.
    """

    def __init__(self, simulation: Simulation, operations: dict[str, Operation], *, new_id: Callable[[], str]) -> None:
        self._simulation = simulation
        self._operations = operations
        self._new_id = new_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or not, as the faults want."""
        request = Request(scope, receive)
        operation = self._operations.get(request.method)
        number = self._record(request, operation)
        try:
            body = await request.body()
        except ClientDisconnect:
            return
        answer: Answer | None
        if operation is None:
            answer, outcome = self._attempt(lambda: self._refuse_route(request)), None
        else:
            answer, outcome = await self._carry_out(operation, request, body)
        if answer is None or (outcome is not None and outcome.kind == "lose_answer"):
            await break_connection(scope, receive)
            return
        self._simulation.record_status(number, answer.status)
        if outcome is not None and outcome.kind == "reset":
            await self._send_half(answer, scope, receive, send)
            return
        await self._response(answer)(scope, receive, send)

    def _record(self, request: Request, operation: Operation | None) -> int:
        known = operation or next(iter(self._operations.values()), None)
        return self._simulation.record(
            method=request.method,
            path=request.url.path,
            query=request.query_params.multi_items(),
            dialect=None if known is None else known.dialect,
            route=None if operation is None else operation.name,
        )

    async def _carry_out(
        self, operation: Operation, request: Request, body: bytes
    ) -> tuple[Answer | None, Fault | None]:
        """Return the answer, or None if the connection is to break first, and the fault that settles its fate."""
        faults = self._simulation.faults
        delays = faults.take("latency", operation.name, operation.dialect)
        await _pause(request, _seconds(delay for delay in delays if not delay.after_effect))
        if request.app.state.stopping.is_set():
            return None, None
        outcome = faults.take_outcome(operation.name, operation.dialect)
        kind = "" if outcome is None else outcome.kind
        if kind == "drop":
            return None, outcome
        is_instead = outcome is not None and kind == "status" and not outcome.after_effect
        answer = Answer() if is_instead else self._attempt(lambda: self._run(operation, request, body, outcome))
        await _pause(request, _seconds(delay for delay in delays if delay.after_effect))
        if outcome is not None and kind == "status":
            return self._injected(outcome), outcome
        if kind == "malformed":
            answer.body = _MALFORMED
        return answer, outcome

    def _run(self, operation: Operation, request: Request, body: bytes, outcome: Fault | None) -> Any:
        self._authorize(operation, request, is_revoked=outcome is not None and outcome.kind == "revoked_key")
        for name in request.query_params:
            if name not in operation.parameters:
                message = f"{name!a} is an unknown query parameter; parameters: {', '.join(operation.parameters)}"
                raise InvalidRequestError(message, param=ascii(name)[1:-1])
        simulation = self._simulation
        call = Call(
            world=simulation.world,
            faults=simulation.faults,
            route=operation.name,
            dialect=operation.dialect,
            path=request.path_params,
            query=request.query_params,
            body=_parse(body) if operation.has_body else None,
            words=simulation.faults.take("status_word", operation.name, operation.dialect),
        )
        with simulation.world.lock:
            result = operation.run(call)
        show_words(result, call.words)
        return result

    def _authorize(self, operation: Operation, request: Request, *, is_revoked: bool) -> None:
        options = self._simulation.options
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        is_full, is_viewer = (
            expected is not None and hmac.compare_digest(key.strip().encode(), expected.encode())
            for expected in (options.api_key, options.viewer_key)
        )
        if is_revoked or scheme.lower() != "bearer" or not (is_full or is_viewer):
            message = "Invalid API key provided: send a valid one as 'Authorization: Bearer KEY'"
            raise UnauthenticatedError(message)
        if operation.is_change and not is_full:
            message = f"This API key may not {operation.name.replace('_', ' ')}: a project admin's key may"
            raise ForbiddenError(message)

    def _attempt(self, work: Callable[[], Any]) -> Answer:
        try:
            return Answer(body=json.dumps(work()).encode())
        except RefusedError as error:
            body = error_body(error, error_format=self._simulation.options.error_format)
            headers = {"Allow": ", ".join(self._operations)} if isinstance(error, MethodError) else {}
            return Answer(status=error.status, body=json.dumps(body).encode(), headers=headers)

    def _refuse_route(self, request: Request) -> NoReturn:
        where = f"{request.method} {request.url.path!a}"
        if self._operations:
            message = f"{where}: this path takes {', '.join(self._operations)}"
            raise MethodError(message)
        message = f"{where}: no such path"
        raise UnknownResourceError(message)

    def _injected(self, fault: Fault) -> Answer:
        status = fault.status or _OK
        message = f"An injected fault answers with status {status}"
        body = fault.body
        if body is None:
            body = injected_body(status, message, error_format=self._simulation.options.error_format)
        raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        return Answer(status=status, body=raw, headers=dict(fault.headers))

    def _response(self, answer: Answer) -> Response:
        headers = {"x-request-id": self._new_id(), **answer.headers}
        return Response(answer.body, status_code=answer.status, headers=headers, media_type="application/json")

    async def _send_half(self, answer: Answer, scope: Scope, receive: Receive, send: Send) -> None:
        """Announce the whole body, send half of it, and reset the connection."""
        response = self._response(answer)
        await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
        half = answer.body[: len(answer.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})
        await break_connection(scope, receive, reset=True)


def _seconds(delays: Iterable[Fault]) -> float:
    return sum(delay.seconds or delay.real_seconds or 0.0 for delay in delays)


async def _pause(request: Request, seconds: float) -> None:
    """Let real seconds pass, or fewer if the server is to stop."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await request.app.state.stopping.wait()


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        message = f"The request body is no JSON: {str(error)!a}"
        raise InvalidRequestError(message) from error


def _refuse_constant(name: str) -> NoReturn:
    message = f"{name} is no JSON"
    raise ValueError(message)

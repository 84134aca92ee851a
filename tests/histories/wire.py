"""
The emulated cloud behind an HTTP client, without a socket, a thread or a second of real time.

Requests are real ones of httpx and answers are read as the package's own client reads them; only the network is
missing. Separate from the processes that ask, since all of them share one cloud and one clock. It imports no flow.
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any, TypeVar

import httpx

from airflow_provider_together.api.answer import HTTPAnswer, error_for_transport, read_answer
from airflow_provider_together.api.call import Call
from airflow_provider_together.api.settings import Settings
from airflow_provider_together.emulator.app import make_app
from airflow_provider_together.emulator.simulation import Simulation

T = TypeVar("T")
Message = MutableMapping[str, Any]

#: All requests run to their end on it, one after another; making one for each history would cost more than the history.
_LOOP = asyncio.new_event_loop()


class InProcess(httpx.BaseTransport):
    """
    Hands requests to the emulator's ASGI application and waits for it to be done with them.

    :param simulation: the cloud.
    """

    def __init__(self, simulation: Simulation) -> None:
        self._app = make_app(simulation)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Return the answer, or raise what httpx raises when the server breaks the connection."""
        exchange = _Exchange(request)
        _LOOP.run_until_complete(self._app(exchange.scope, exchange.receive, exchange.send))
        if exchange.status is None:
            message = "Server disconnected without sending a response."
            raise httpx.RemoteProtocolError(message)
        if not exchange.is_complete:
            message = "connection reset in the middle of the body"
            raise httpx.ReadError(message)
        return httpx.Response(exchange.status, headers=exchange.headers, content=exchange.body)


class _Exchange:
    """One request and its answer as ASGI tells them."""

    def __init__(self, request: httpx.Request) -> None:
        self._content = request.read()
        self.scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": request.method,
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "scheme": request.url.scheme,
            "path": request.url.path,
            "raw_path": request.url.raw_path.split(b"?")[0],
            "query_string": request.url.query,
            "server": ("127.0.0.1", 80),
            "client": ("127.0.0.1", 1),
            "root_path": "",
        }
        self.status: int | None = None
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.is_complete = False

    async def receive(self) -> Message:
        return {"type": "http.request", "body": self._content, "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message["headers"])
            return
        self.body += message.get("body", b"")
        self.is_complete = not message.get("more_body", False)


class Wire:
    """
    The client side: sends each call once and reads its answer as the package's client does.

    :param simulation: the cloud.
    :param settings: the connection, whose dialect is spoken.
    """

    def __init__(self, simulation: Simulation, settings: Settings) -> None:
        self._settings = settings
        self._http = httpx.Client(
            base_url=settings.base_url,
            headers={"Authorization": f"Bearer {settings.api_key}"},
            transport=InProcess(simulation),
            trust_env=False,
        )

    def send(self, call: Call[T]) -> T:
        """
        Send one request once.

        :raises TogetherError: if it is refused, fails, or nobody knows.
        """
        try:
            response = self._http.request(call.method, call.path, params=call.params or None, json=call.body)
        except httpx.HTTPError as error:
            raise error_for_transport(call, error, self._settings) from error
        return read_answer(call, HTTPAnswer(response.status_code, response.headers, response.content), self._settings)

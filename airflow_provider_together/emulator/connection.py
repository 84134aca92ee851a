"""
The server's side of TCP connections, for faults that break them.

An ASGI application cannot close a connection without an answer; the protocol that owns the socket can. Separate
because it is the only module that knows uvicorn's protocols and sockets.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

# SO_LINGER with no time left: closing sends a reset instead of an orderly end.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

_transports: dict[tuple[Any, Any], asyncio.Transport] = {}


class BreakableProtocol(H11Protocol):
    """HTTP/1.1 on a connection that the application can break, found by the addresses of its two ends."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Remember the connection."""
        super().connection_made(transport)
        _transports[self._ends()] = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        _transports.pop(self._ends(), None)
        super().connection_lost(exc)

    def _ends(self) -> tuple[Any, Any]:
        return self.client, self.server


async def break_connection(scope: Any, receive: Any, *, reset: bool = False) -> None:
    """
    Close the connection of a request, and return when the server has noticed.

    :param scope: the ASGI scope of the request.
    :param receive: its ASGI channel.
    :param reset: with a TCP reset instead of an orderly end.
    """
    transport = _transports.get((_address(scope["client"]), _address(scope["server"])))
    if transport is None:
        # The client has hung up first.
        return
    if reset:
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.close()
    while (await receive())["type"] != "http.disconnect":
        pass


def _address(value: Any) -> tuple[str, int]:
    host, port = value
    return host, port

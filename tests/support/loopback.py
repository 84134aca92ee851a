"""
Servers on real loopback sockets that behave as badly as a network does.

A server runs one function per connection in a thread and is gone, threads and all, when its ``with`` ends.
Separate from the scripted answers since here the sockets themselves are the subject. It imports nothing of ours.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

READY_BODY = b'{"cluster_id": "c-1", "status": "Ready"}'


@dataclass
class Connection:
    """
    One accepted connection.

    :param sock: the socket.
    :param stopping: set when the server ends; whatever waits must wait for this.
    """

    sock: socket.socket
    stopping: threading.Event

    def read_head(self) -> bytes:
        """Read until the blank line after the headers, or to the end."""
        head = b""
        while b"\r\n\r\n" not in head:
            piece = self.sock.recv(65536)
            if not piece:
                break
            head += piece
        return head

    def reply(self, body: bytes = READY_BODY, *, status: str = "200 OK", headers: str = "") -> None:
        """Answer and announce the end of the connection."""
        head = f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        self.sock.sendall(head.encode() + body)

    def reset(self) -> None:
        """End the connection with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def dribble(self, prefix: bytes) -> None:
        """Send something, then one byte after the other until the other side or the server ends."""
        self.sock.sendall(prefix)
        while not self.stopping.wait(0.01):
            self.sock.sendall(b" ")


@dataclass
class Server:
    """
    A running server.

    :param port: where it listens on 127.0.0.1.
    :param heads: what each connection sent up to the end of its headers, if the function kept it.
    """

    port: int
    heads: list[bytes] = field(default_factory=list)
    accepted: int = 0

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def serving(serve: Callable[[Connection, Server], None], *, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """Run a server until the block ends."""
    stopping, threads = threading.Event(), list[threading.Thread]()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(listener.getsockname()[1])

        def handle(sock: socket.socket) -> None:
            # The other side is expected to leave in the middle of everything.
            with sock, contextlib.suppress(OSError):
                sock.settimeout(10)
                if tls is None:
                    serve(Connection(sock, stopping), server)
                else:
                    with tls.wrap_socket(sock, server_side=True) as secure:
                        serve(Connection(secure, stopping), server)

        def accept() -> None:
            while True:
                sock, _ = listener.accept()
                if stopping.is_set():
                    sock.close()
                    return
                server.accepted += 1
                threads.append(threading.Thread(target=handle, args=(sock,), daemon=True))
                threads[-1].start()

        acceptor = threading.Thread(target=accept, daemon=True)
        acceptor.start()
        try:
            yield server
        finally:
            stopping.set()
            socket.create_connection(("127.0.0.1", server.port)).close()
            for thread in (acceptor, *threads):
                thread.join(timeout=10)


def answer_ready(connection: Connection, server: Server) -> None:
    """Keep the request and answer with a READY cluster."""
    server.heads.append(connection.read_head())
    connection.reply()


def tunnel_to(port: int) -> Callable[[Connection, Server], None]:
    """Return a proxy that keeps each CONNECT and leads it to one local port, wherever it should go."""

    def serve(connection: Connection, server: Server) -> None:
        server.heads.append(connection.read_head())
        connection.sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with socket.create_connection(("127.0.0.1", port)) as target:
            back = threading.Thread(target=_copy, args=(target, connection.sock), daemon=True)
            back.start()
            _copy(connection.sock, target)
            back.join(timeout=10)

    return serve


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def unused_port() -> int:
    """Return a port of 127.0.0.1 on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port

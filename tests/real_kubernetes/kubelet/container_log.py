"""
What a container has written, and how a part of it is asked for and sent.

Separate from the process, since a log is read long after its process has ended. It imports only the notice.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime

from airflow_provider_together.emulator.kubernetes.notice import Notice

_NANOSECONDS, _MICROSECONDS, _MILLE = 1_000_000_000, 1_000_000, 1_000
#: Seconds between two looks when nothing is told.
_LOOK_SECONDS = 1.0
#: A line longer than this is cut, as container runtimes do.
_LONGEST_LINE = 16 * 1024


@dataclass(frozen=True, kw_only=True)
class LogRequest:
    """
    The part of a log that a client wants.

    :param since: only what was written at or after this moment, in epoch seconds.
    :param tail_lines: only so many lines from the end.
    :param limit_bytes: stop after so many bytes.
    """

    follow: bool = False
    timestamps: bool = False
    since: float | None = None
    tail_lines: int | None = None
    limit_bytes: int | None = None


class ContainerLog:
    """The lines of one run of a container, in the order in which they were written."""

    def __init__(self) -> None:
        self._lines: list[tuple[int, bytes]] = []
        self._begun = b""
        self._begun_at = 0
        self._is_complete = False
        self._notice = Notice()

    def write(self, chunk: bytes) -> None:
        """Add what a process wrote."""
        now = time.time_ns()
        parts = (self._begun + chunk).split(b"\n")
        for index, part in enumerate(parts[:-1]):
            self._add(self._begun_at if index == 0 and self._begun else now, part + b"\n")
        self._begun, self._begun_at = parts[-1], self._begun_at if len(parts) == 1 and self._begun else now
        self._notice.give()

    def complete(self) -> None:
        """Tell that no more will come, which ends the following of it."""
        if self._begun:
            self._add(self._begun_at, self._begun)
            self._begun = b""
        self._is_complete = True
        self._notice.give()

    def tail(self, *, lines: int, size: int) -> str:
        """Return the end of the log: at most so many lines and bytes."""
        end = b"".join(line for _, line in self._lines[-lines:])
        return end[-size:].decode(errors="replace")

    async def read(self, request: LogRequest) -> AsyncIterator[bytes]:
        """Yield the wanted part in chunks; with ``follow`` until the container has ended."""
        left = request.limit_bytes
        position = self._first(request)
        while True:
            chunk = b"".join(self._text(entry, request) for entry in self._lines[position:])
            position = len(self._lines)
            if left is not None:
                chunk, left = chunk[:left], left - len(chunk[:left])
            if chunk:
                yield chunk
            if position < len(self._lines):
                continue
            if not request.follow or self._is_complete or left == 0:
                return
            await self._notice.wait(_LOOK_SECONDS)

    def _add(self, at: int, line: bytes) -> None:
        for begin in range(0, len(line), _LONGEST_LINE):
            self._lines.append((at, line[begin : begin + _LONGEST_LINE]))

    def _first(self, request: LogRequest) -> int:
        first = 0
        if request.since is not None:
            # A float holds no nanoseconds.
            since = round(request.since * _MICROSECONDS)
            lines = enumerate(self._lines)
            first = next((index for index, (at, _) in lines if at // _MILLE >= since), len(self._lines))
        if request.tail_lines is not None:
            first = max(first, len(self._lines) - request.tail_lines)
        return first

    def _text(self, entry: tuple[int, bytes], request: LogRequest) -> bytes:
        at, line = entry
        return f"{_nanosecond_text(at)} ".encode() + line if request.timestamps else line


def _nanosecond_text(at: int) -> str:
    """Return nanoseconds since the epoch as kubelets write them."""
    seconds, rest = divmod(at, _NANOSECONDS)
    return f"{datetime.fromtimestamp(seconds, tz=UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"

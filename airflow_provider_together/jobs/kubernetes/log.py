"""
Reading a container's log piece by piece without losing a line or telling one twice.

Kubernetes tells times with each line on request, and takes "since" in whole seconds, so that each piece begins with
lines that are known already. They are told apart by their times, and lines of the same time by their number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

#: Bytes that a piece may have at first; it grows where so many do not reach beyond what is known.
FIRST_LIMIT = 256 * 1024
LARGEST_LIMIT = 64 * 2**20

_LINE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d) ?(.*)", re.ASCII | re.DOTALL)


@dataclass(slots=True)
class LogCursor:
    """
    How far a log has been read.

    :param second: whole seconds of the last line's time, in epoch seconds; -1 before the first line.
    :param nanosecond: the rest of that time.
    :param count: how many lines of just that time are known.
    :param limit: bytes that the next piece may have.
    """

    second: int = -1
    nanosecond: int = 0
    count: int = 0
    limit: int = FIRST_LIMIT

    @property
    def since(self) -> str | None:
        """The time from which on to read, as ``sinceTime`` takes it; None for the beginning."""
        if self.second < 0:
            return None
        return datetime.fromtimestamp(self.second, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def take_piece(self, content: bytes) -> list[str]:
        """
        Return the lines of a piece that are new, without their times.

        :param content: what Kubernetes answered to ``sinceTime``, ``limitBytes`` and ``timestamps``.
        """
        is_cut = len(content) >= self.limit
        lines = content.decode("utf-8", "replace").splitlines()
        if is_cut and len(lines) > 1:
            lines.pop()  # the next piece has all of it
        reader = self.reader()
        new = [text for line in lines for text in reader.take(line)]
        # A second with more lines than a piece can hold would be read for ever.
        self.limit = min(self.limit * 4, LARGEST_LIMIT) if is_cut and not new else FIRST_LIMIT
        return new

    def reader(self) -> LineReader:
        """Begin to read what Kubernetes answers to :attr:`since`."""
        return LineReader(self)


class LineReader:
    """
    Takes the lines of one answer.

    :param cursor: what is known; it moves with each line.
    """

    def __init__(self, cursor: LogCursor) -> None:
        self._cursor = cursor
        self._known = cursor.count
        self._is_new = cursor.second < 0

    def take(self, line: str) -> Iterator[str]:
        """Return the line's text if it is new; a line without a time belongs to the one before it."""
        match = _LINE.fullmatch(line)
        if match is None:
            if self._is_new:
                yield line
            return
        second = int(datetime.fromisoformat(f"{match[1]}{match[3].replace('Z', '+00:00')}").timestamp())
        time, last = (second, int((match[2] or "").ljust(9, "0"))), (self._cursor.second, self._cursor.nanosecond)
        if time == last and self._known > 0:
            self._known -= 1
            self._is_new = False
            return
        self._is_new = time >= last
        if not self._is_new:
            return
        if time > last:
            self._cursor.second, self._cursor.nanosecond = time
            self._cursor.count, self._known = 0, 0
        self._cursor.count += 1
        yield match[4]

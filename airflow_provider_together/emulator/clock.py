"""
The simulated time: everything that happens in the emulator happens by this clock.

Separate, so that nothing else reads the machine's clock. It imports nothing of ours.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

# Later moments would not fit into a date of four digits once a reservation is added to them.
_END_OF_TIME = datetime(9000, 1, 1, tzinfo=UTC).timestamp()


class SimulatedClock:
    """
    A clock that starts now and runs faster.

    :param speed: simulated seconds per real second; 0 stands still and moves only by :meth:`advance`.
    :param epoch: where it starts, in epoch seconds; None is the present.
    """

    def __init__(self, *, speed: float, epoch: float | None = None) -> None:
        self.speed = speed
        self._lock = threading.Lock()
        self._base = time.time() if epoch is None else epoch
        self._started = time.monotonic()

    def now(self) -> float:
        """Return the simulated time in epoch seconds."""
        with self._lock:
            return min(self._base + (time.monotonic() - self._started) * self.speed, _END_OF_TIME)

    def advance(self, seconds: float) -> float:
        """
        Jump ahead.

        :param seconds: simulated seconds, not negative.
        :returns: the new simulated time in epoch seconds.
        :raises ValueError: if the clock would go back or leave the calendar.
        """
        if not 0 <= seconds <= _END_OF_TIME:
            message = f"seconds={seconds!r} is wrong: the clock advances by 0 to {_END_OF_TIME:.0f} seconds"
            raise ValueError(message)
        with self._lock:
            self._base += seconds
        return self.now()


def to_text(moment: float) -> str:
    """Spell epoch seconds as an RFC 3339 date-time in UTC."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

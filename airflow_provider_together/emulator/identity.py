"""
Ids of clusters, nodes, volumes and requests.

Separate, so that a seeded emulator gives the same ids in every run. It imports nothing of ours.
"""

from __future__ import annotations

import random
import threading
import uuid


class IdSource:
    """
    Makes ids in the form of a UUID.

    :param seed: makes the sequence reproducible; None makes it random.
    """

    def __init__(self, *, seed: int | None) -> None:
        self._random = random.Random(seed) if seed is not None else random.SystemRandom()  # noqa: S311 - not secrets
        self._lock = threading.Lock()

    def new(self) -> str:
        """Return a new id."""
        with self._lock:
            return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

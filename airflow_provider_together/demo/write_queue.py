"""
One change at a time through the api-server of the throw-away Airflow, as SQLite wants it.

Airflow writes each change to its audit log on the event loop. If another request has written by then and has not
committed yet, SQLite makes the loop wait; but for its commit the other request needs the loop. Both wait until SQLite
gives up and a request fails with "database is locked", however long that takes. Other databases lock rows, not files.
"""

from __future__ import annotations

import asyncio
from typing import Any

from airflow.plugins_manager import AirflowPlugin

_READ_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class WriteQueue:
    """ASGI middleware that lets requests that may write in one after the other; those that only read do not wait."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._turn = asyncio.Lock()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request, when it is its turn."""
        if scope["type"] != "http" or scope["method"] in _READ_METHODS:
            await self._app(scope, receive, send)
            return
        async with self._turn:
            await self._app(scope, receive, send)


class WriteQueuePlugin(AirflowPlugin):
    """Puts the queue in front of the api-server, the API for tasks included."""

    name = "write_queue"
    fastapi_root_middlewares = [{"name": "write queue", "middleware": WriteQueue}]

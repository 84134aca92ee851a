"""
The two drivers: the only place that talks to the network, sleeps or reads a clock.

They decide nothing. A call is prepared and read by :mod:`.answer`, repeated by :mod:`.retry`, composed
by flows; sync and async differ here only, in a few lines each.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import os
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Self, TypeVar

import httpx
from tenacity import AsyncRetrying, RetryCallState, Retrying

from airflow_provider_together.api.answer import HTTPAnswer, error_for_transport, read_answer, scrubbed
from airflow_provider_together.api.call import Ask, Call, Flow, Note, Save, Step
from airflow_provider_together.api.dialects import dialect_class
from airflow_provider_together.api.proxy import proxy_for
from airflow_provider_together.api.retry import retrying
from airflow_provider_together.api.settings import Settings
from airflow_provider_together.api.tls import tls_context
from airflow_provider_together.exceptions import ConfigurationError, TogetherError

T = TypeVar("T")

log = logging.getLogger(__name__)

USER_AGENT = "airflow-provider-together"
#: Bytes of the largest answer that is read. A list of a thousand clusters with kubeconfigs has some 10 MB.
LARGEST_ANSWER = 256 * 2**20

#: Seconds that an idle connection is kept. Many servers close theirs after five; a create that meets a connection
#: which is just being closed would end with nobody knowing whether it was carried out.
KEEP_ALIVE = 4.0
#: The same for the async client, which polls and never creates: a lost answer costs it one look, and a connection for
#: each look more than the look. The usual load balancers close theirs after a minute or more.
POLLING_KEEP_ALIVE = 55.0

#: What is done with a flow's notes.
NoteTaker = Callable[[Note], None]
#: Answers a flow's questions.
Answerer = Callable[[Ask[Any]], Any]
Sleep = Callable[[float], None]
AsyncSleep = Callable[[float], Awaitable[None]]


def _log_note(note: Note) -> None:
    log.info("%s", note.message)


def answered(step: Ask[Any], note: NoteTaker) -> Any:
    """Answer a question of a flow; what is about to be saved is told first."""
    if isinstance(step, Save):
        note(Note(step.message))
    return step.answer()


class Clock:
    """
    Epoch seconds that never jump within one process.

    Deadlines are stored as epoch seconds, since they outlive a process; inside it a correction of the
    system's clock must not end a wait early or stretch it.
    """

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def __call__(self) -> float:
        """Return the time in epoch seconds."""
        return self._offset + time.monotonic()


def drive(flow: Flow[T], do: Callable[[Step], Any]) -> T:
    """
    Run a flow to its end.

    :param do: does a step; what comes of it, or the error that it raises, goes back into the flow.
    """
    try:
        step = next(flow)
        while True:
            try:
                answer = do(step)
            except TogetherError as error:
                step = flow.throw(error)
            else:
                step = flow.send(answer)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        flow.close()


async def adrive(flow: Flow[T], do: Callable[[Step], Awaitable[Any]]) -> T:
    """See :func:`drive`."""
    try:
        step = next(flow)
        while True:
            try:
                answer = await do(step)
            except TogetherError as error:
                step = flow.throw(error)
            else:
                step = flow.send(answer)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        flow.close()


class _Driver:
    """What both drivers share: settings, dialect and the clock."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.dialect = dialect_class(settings.dialect)(project_id=settings.project_id)
        self.now = Clock()

    def _arguments(self, call: Call[Any]) -> dict[str, Any]:
        return retrying(call, retries=self.settings.retries, before_sleep=log_repetition)


class Client(_Driver):
    """
    Sync driver.

    :param settings: the connection.
    :param transport: answers instead of the network, for tests.
    """

    def __init__(self, settings: Settings, *, transport: httpx.BaseTransport | None = None) -> None:
        super().__init__(settings)
        with _usable(settings):
            self._http = httpx.Client(**_http_arguments(settings, KEEP_ALIVE, transport))
        # A shared client is closed by nobody, and its connections must not wait for the garbage collector.
        weakref.finalize(self, self._http.close).atexit = False

    def send(self, call: Call[T], *, sleep: Sleep = time.sleep) -> T:
        """
        Send one request, repeating it where that is safe.

        :param sleep: waits that many seconds; a caller that can be interrupted gives its own.
        :raises TogetherError: if it cannot be carried out, or if nobody knows whether it was.
        """
        try:
            return self._send_once(call)  # a good answer is not worth the start of tenacity
        except TogetherError as error:
            failed = [error]

        def attempt() -> T:
            if failed:
                raise failed.pop()
            return self._send_once(call)

        result: T = Retrying(**self._arguments(call), sleep=sleep)(attempt)
        return result

    def run(
        self,
        flow: Flow[T],
        *,
        note: NoteTaker = _log_note,
        ask: Answerer | None = None,
        sleep: Sleep = time.sleep,
    ) -> T:
        """
        Run a flow to its end.

        :param note: gets each note of the flow before the flow goes on.
        :param ask: answers its questions; None lets them answer themselves.
        :param sleep: waits that many seconds; what it raises ends the flow.
        """
        answer = ask or (lambda step: answered(step, note))
        return drive(flow, lambda step: self._do(step, note, answer, sleep))

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _do(self, step: Step, note: NoteTaker, answer: Answerer, sleep: Sleep) -> Any:
        if isinstance(step, Call):
            return self.send(step, sleep=sleep)
        if isinstance(step, Ask):
            return answer(step)
        if isinstance(step, Note):
            return note(step)
        if step.seconds > 0:
            sleep(step.seconds)
        return self.now()

    def _send_once(self, call: Call[T]) -> T:
        limit = _Limit(self.settings.timeout)
        try:
            with (
                _quiet_httpx(),
                self._http.stream(call.method, call.path, params=call.params or None, json=call.body) as response,
            ):
                content = b"".join(limit.check(chunk) for chunk in response.iter_bytes())
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            failure = error_for_transport(call, error, self.settings)
        else:
            return read_answer(call, HTTPAnswer(response.status_code, response.headers, content), self.settings)
        raise failure  # by itself: it has the words of httpx, and a task's log would show the frames of three libraries


class AsyncClient(_Driver):
    """
    Async driver, for one event loop.

    :param settings: the connection.
    :param transport: answers instead of the network, for tests.
    """

    def __init__(self, settings: Settings, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        super().__init__(settings)
        with _usable(settings):
            self._http = httpx.AsyncClient(**_http_arguments(settings, POLLING_KEEP_ALIVE, transport))

    async def send(self, call: Call[T], *, sleep: AsyncSleep = asyncio.sleep) -> T:
        """See :meth:`Client.send`."""
        try:
            return await self._send_once(call)
        except TogetherError as error:
            failed = [error]

        async def attempt() -> T:
            if failed:
                raise failed.pop()
            return await self._send_once(call)

        result: T = await AsyncRetrying(**self._arguments(call), sleep=sleep)(attempt)
        return result

    async def run(self, flow: Flow[T], *, note: NoteTaker = _log_note, sleep: AsyncSleep = asyncio.sleep) -> T:
        """See :meth:`Client.run`."""
        return await adrive(flow, lambda step: self._do(step, note, sleep))

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _do(self, step: Step, note: NoteTaker, sleep: AsyncSleep) -> Any:
        if isinstance(step, Call):
            return await self.send(step, sleep=sleep)
        if isinstance(step, Ask):
            return answered(step, note)
        if isinstance(step, Note):
            return note(step)
        if step.seconds > 0:
            await sleep(step.seconds)
        return self.now()

    async def _send_once(self, call: Call[T]) -> T:
        limit = _Limit(self.settings.timeout)
        request = self._http.stream(call.method, call.path, params=call.params or None, json=call.body)
        try:
            with _quiet_httpx():
                # Also bounds headers that never end, which no chunk of the body would meet.
                async with asyncio.timeout(limit.seconds), request as response:
                    content = b"".join([limit.check(chunk) async for chunk in response.aiter_bytes()])
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            failure = error_for_transport(call, error, self.settings)
        except TimeoutError:
            failure = error_for_transport(call, limit.exceeded(), self.settings)
        else:
            return read_answer(call, HTTPAnswer(response.status_code, response.headers, content), self.settings)
        raise failure


def shared_client(settings: Settings) -> Client:
    """
    Return the sync client that everybody in this process shares for one connection.

    It lives as long as somebody holds it; a forked child gets its own, since a connection must not be
    used by two processes.
    """
    key = (os.getpid(), settings)
    client = _clients.get(key)
    if client is None:
        client = _clients[key] = Client(settings)
    return client


_clients: weakref.WeakValueDictionary[tuple[int, Settings], Client] = weakref.WeakValueDictionary()


@contextlib.asynccontextmanager
async def shared_async_client(settings: Settings) -> AsyncIterator[AsyncClient]:
    """
    Lend the async client that everybody on this event loop shares for one connection.

    It is made for the first borrower and closed after the last, so that neither a connection nor a loop
    outlives its use. A loop belongs to one process, so a forked child never meets its parent's.
    """
    lent = _lent.setdefault(asyncio.get_running_loop(), {})
    entry = lent.get(settings)
    if entry is None:
        entry = lent[settings] = _Lent(AsyncClient(settings))
    entry.borrowers += 1
    try:
        yield entry.client
    finally:
        entry.borrowers -= 1
        if entry.borrowers == 0:
            del lent[settings]
            await entry.client.close()


class _Lent:
    def __init__(self, client: AsyncClient) -> None:
        self.client = client
        self.borrowers = 0


_lent: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Settings, _Lent]] = weakref.WeakKeyDictionary()


class _Limit:
    """
    Bounds one answer in time and size: httpx bounds each silence, not their sum.

    :param timeout: seconds; connecting may take that long, and the rest of the exchange again.
    """

    def __init__(self, timeout: float) -> None:
        self.seconds = 2 * timeout
        self._end = time.monotonic() + self.seconds
        self._room = LARGEST_ANSWER

    def check(self, chunk: bytes) -> bytes:
        """Return the chunk, or raise the error that ends the exchange."""
        self._room -= len(chunk)
        if self._room < 0:
            message = f"the answer is larger than {LARGEST_ANSWER} bytes"
            raise httpx.DecodingError(message)
        if time.monotonic() > self._end:
            raise self.exceeded()
        return chunk

    def exceeded(self) -> httpx.ReadTimeout:
        """Return the error for an exchange that took too long as a whole."""
        return httpx.ReadTimeout(f"the answer took more than {self.seconds:g} s as a whole")


def _http_arguments(
    settings: Settings, keep_alive: float, transport: httpx.BaseTransport | httpx.AsyncBaseTransport | None
) -> dict[str, Any]:
    tls = tls_context(settings)
    return {
        "base_url": settings.base_url,
        "headers": {"Authorization": f"Bearer {settings.api_key}", "User-Agent": USER_AGENT},
        "timeout": httpx.Timeout(settings.timeout),
        "verify": tls,
        "follow_redirects": False,
        # What the environment says is read by us, since httpx gives up at a NO_PROXY that others understand.
        "trust_env": False,
        # A proxy must not see what goes to this machine: that may be plain http, with the key in it.
        "proxy": None if transport or settings.is_loopback else proxy_for(settings.base_url, tls=tls),
        "transport": transport,
        "limits": httpx.Limits(max_connections=10, max_keepalive_connections=2, keepalive_expiry=keep_alive),
    }


@contextlib.contextmanager
def _usable(settings: Settings) -> Iterator[None]:
    """Name the connection when its certificates, its proxy, its host or its key cannot be used."""
    try:
        yield
    except ConfigurationError as error:
        message = f"{settings.label}: {error}"
        raise ConfigurationError(message) from None
    except (ValueError, httpx.InvalidURL) as error:
        why = f"{type(error).__name__}: {scrubbed(str(error), settings)}"
        message = f"{settings.label} cannot be used: {why}. Check its host and password"
        raise ConfigurationError(message) from None


_is_ours: contextvars.ContextVar[bool] = contextvars.ContextVar("together_request", default=False)


@contextlib.contextmanager
def _quiet_httpx() -> Iterator[None]:
    """Keep httpx from logging each request of ours: a wait would fill the task's log with a line per look."""
    token = _is_ours.set(True)
    try:
        yield
    finally:
        _is_ours.reset(token)


logging.getLogger("httpx").addFilter(lambda record: record.levelno > logging.INFO or not _is_ours.get())


def log_repetition(state: RetryCallState) -> None:
    """Say that a request is sent again, and why."""
    error = state.outcome.exception() if state.outcome is not None else None
    log.warning("%s; trying again in %.1f s.", error, state.upcoming_sleep)

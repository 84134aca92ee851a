"""
Sending what :mod:`airflow_provider_together.jobs.kubernetes.api` describes, and running flows of it.

Two drivers, of a worker and of a triggerer, that decide nothing. They take Airflow's way to the cluster, and turn what
the two Kubernetes clients raise into errors of ours.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

import aiohttp
import urllib3.exceptions
from kubernetes.client.exceptions import ApiException  # type: ignore[import-untyped]
from tenacity import AsyncRetrying, Retrying

from airflow_provider_together.api.call import Ask, Call, Flow, Note, Step
from airflow_provider_together.api.client import (
    AsyncSleep,
    Clock,
    NoteTaker,
    Sleep,
    adrive,
    answered,
    drive,
    log_repetition,
)
from airflow_provider_together.api.retry import retrying
from airflow_provider_together.api.wording import printable
from airflow_provider_together.exceptions import AnswerLostError, NotFoundError, NotSentError, TogetherError
from airflow_provider_together.jobs.cluster import ClusterQuestion
from airflow_provider_together.jobs.kubernetes.api import error_for_status, place, read_answer

if TYPE_CHECKING:
    from kubernetes import client as sync_client  # type: ignore[import-untyped]
    from kubernetes_asyncio import client as async_client

    from airflow_provider_together.api.models import Cluster
    from airflow_provider_together.hooks.kubernetes import AsyncGPUClusterKubernetesHook, GPUClusterKubernetesHook

T = TypeVar("T")

#: How often a request that a flow does not repeat itself is repeated.
_RETRIES = 4


class KubernetesDriver:
    """
    Sends the calls of :mod:`~airflow_provider_together.jobs.kubernetes.api`, and runs flows of them, in a worker.

    :param hook: the way to the cluster.
    :param api_client: another client than the hook's.
    :param renews: whether to fetch the kubeconfig once more where the cluster does not accept it.
    """

    def __init__(
        self,
        hook: GPUClusterKubernetesHook,
        *,
        api_client: sync_client.ApiClient | None = None,
        renews: bool = True,
    ) -> None:
        self._hook = hook
        self._api_client = api_client
        self._renews = renews
        self.now = Clock()

    def connect(self) -> None:
        """Fetch the kubeconfig now, if there is none yet."""
        _ = self._hook.api_client

    def urgent(self, seconds: float) -> KubernetesDriver:
        """
        Return a driver beside this one, for inside a signal handler.

        :param seconds: that connecting, and then an answer, may take.
        """
        api_client = self._hook.get_urgent_conn(seconds)
        return KubernetesDriver(self._hook, api_client=api_client, renews=False)

    def for_thread(self) -> KubernetesDriver:
        """
        Return a driver for a thread beside the one that waits.

        It fetches no kubeconfig, since Airflow, which masks it, may be asked by one thread only.
        """
        return KubernetesDriver(self._hook, renews=False)

    def send(self, call: Call[T], *, sleep: Sleep = time.sleep) -> T:
        """
        Send one request, repeating it where it has not got through.

        :param sleep: waits that many seconds; what it raises ends it.
        :raises TogetherError: if it cannot be carried out.
        """
        arguments = retrying(call, retries=_RETRIES, before_sleep=log_repetition)
        result: T = Retrying(**arguments, sleep=sleep)(self._send_once, call)
        return result

    def run(self, flow: Flow[T], *, note: NoteTaker, sleep: Sleep = time.sleep) -> T:
        """
        Run a flow to its end.

        :param note: gets each note of the flow before the flow goes on.
        :param sleep: waits that many seconds; what it raises ends the flow.
        """
        return drive(flow, lambda step: self._do(step, note, sleep))

    @contextlib.contextmanager
    def follow(self, call: Call[bytes]) -> Iterator[urllib3.HTTPResponse]:
        """
        Lend the answer to a call whose body goes on and on.

        :raises TogetherError: if there is none.
        """
        with _told(call):
            response = self._request(call)
        try:
            yield response
        finally:
            response.close()

    def _do(self, step: Step, note: NoteTaker, sleep: Sleep) -> Any:
        if isinstance(step, Call):
            return self.send(step, sleep=sleep)
        if isinstance(step, ClusterQuestion):
            return self._fate()
        if isinstance(step, Ask):
            return answered(step, note)
        if isinstance(step, Note):
            return note(step)
        if step.seconds > 0:
            sleep(step.seconds)
        return self.now()

    def _fate(self) -> str:
        together = self._hook.together.client
        try:
            return _word(together.send(together.dialect.get_cluster(self._hook.cluster_id).once()))
        except TogetherError as error:
            return _word_of(error)

    def _send_once(self, call: Call[T]) -> T:
        with _told(call):
            response = self._request(call)
            try:
                content = response.read()
            finally:
                response.release_conn()
        return read_answer(call, response.status, _lower(response.headers), content)

    def _request(self, call: Call[Any]) -> urllib3.HTTPResponse:
        api_client = self._api_client or self._hook.api_client
        try:
            answer = api_client.call_api(call.path, call.method, **_arguments(call), renews=self._renews)
        except ApiException as error:
            raise _refusal(call, error) from None
        except AttributeError as error:
            # Over a certificate that is not trusted the client raises an error without a body, and stumbles over that.
            if not isinstance(error.__context__, ApiException):
                raise
            reason = " ".join(str(error.__context__.reason).split())
            message = f"{place(call)} did not get through: {reason}"
            raise NotSentError(message) from None
        return cast("urllib3.HTTPResponse", answer)


class AsyncKubernetesDriver:
    """
    The same in a triggerer. One connection serves all requests between its entry and its exit.

    :param hook: the way to the cluster.
    """

    def __init__(self, hook: AsyncGPUClusterKubernetesHook) -> None:
        self._hook = hook
        self._api_client: async_client.ApiClient | None = None
        self._open = contextlib.AsyncExitStack()
        self.now = Clock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    async def send(self, call: Call[T], *, sleep: AsyncSleep) -> T:
        """See :meth:`KubernetesDriver.send`."""
        arguments = retrying(call, retries=_RETRIES, before_sleep=log_repetition)
        result: T = await AsyncRetrying(**arguments, sleep=sleep)(self._send_once, call)
        return result

    async def run(self, flow: Flow[T], *, note: NoteTaker, sleep: AsyncSleep) -> T:
        """See :meth:`KubernetesDriver.run`."""
        return await adrive(flow, lambda step: self._do(step, note, sleep))

    async def _do(self, step: Step, note: NoteTaker, sleep: AsyncSleep) -> Any:
        if isinstance(step, Call):
            return await self.send(step, sleep=sleep)
        if isinstance(step, ClusterQuestion):
            return await self._fate()
        if isinstance(step, Ask):
            return answered(step, note)
        if isinstance(step, Note):
            return note(step)
        if step.seconds > 0:
            await sleep(step.seconds)
        return self.now()

    async def _fate(self) -> str:
        try:
            async with self._hook.together.async_client() as together:
                return _word(await together.send(together.dialect.get_cluster(self._hook.cluster_id).once()))
        except TogetherError as error:
            return _word_of(error)

    async def _send_once(self, call: Call[T]) -> T:
        if self._api_client is None:
            self._api_client = await self._open.enter_async_context(self._hook.get_conn())
        with _told(call):
            response = await self._api_client.call_api(call.path, call.method, **_arguments(call))
            content = await response.read()
        return read_answer(call, response.status, _lower(response.headers), content)


def _arguments(call: Call[Any]) -> dict[str, Any]:
    headers = {"Accept": "application/json, */*"}
    if call.method == "PATCH":
        headers["Content-Type"] = "application/merge-patch+json"
    elif call.body is not None:
        headers["Content-Type"] = "application/json"
    return {
        "query_params": list(call.params.items()),
        "header_params": headers,
        "body": call.body,
        "auth_settings": ["BearerToken"],
        "_preload_content": False,
        "_return_http_data_only": True,  # clients before 33 put status and headers beside it
    }


@contextlib.contextmanager
def _told(call: Call[Any]) -> Iterator[None]:
    """
    Turn what the clients raise for a request that got no answer into our own errors.

    :raises NotSentError: if it never reached the cluster.
    :raises AnswerLostError: if it may have.
    """
    try:
        yield
    except (
        urllib3.exceptions.NewConnectionError,
        urllib3.exceptions.ConnectTimeoutError,
        urllib3.exceptions.SSLError,
        aiohttp.ClientConnectorError,
    ) as error:
        message = f"{place(call)} did not get through: {_words(error)}"
        raise NotSentError(message) from None
    except (urllib3.exceptions.HTTPError, aiohttp.ClientError, TimeoutError, OSError) as error:
        message = f"{place(call)} got no answer: {_words(error)}"
        raise AnswerLostError(message) from None


def _words(error: Exception) -> str:
    said = printable(" ".join(str(error).split()))
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _refusal(call: Call[Any], error: ApiException) -> TogetherError:
    body = error.body or ""
    content = body if isinstance(body, bytes) else str(body).encode()
    return error_for_status(call, int(error.status or 0), _lower(error.headers or {}), content)


def _lower(headers: Any) -> dict[str, str]:
    return {str(name).lower(): str(value) for name, value in headers.items()}


def _word(cluster: Cluster) -> str:
    """Return the word that says that a GPU cluster is deleted or being deleted; an empty one if it is not."""
    return "" if cluster.phase.has_to_be_deleted else cluster.status


def _word_of(error: TogetherError) -> str:
    return "not known to Together any more" if isinstance(error, NotFoundError) else ""

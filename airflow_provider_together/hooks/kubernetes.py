"""
The way to a GPU cluster's Kubernetes: by the id of the cluster, with a kubeconfig that is fetched when it is needed.

A kubeconfig makes its holder an admin of the cluster. It is fetched through the Together connection by whoever talks
to the cluster, the worker or the triggerer, is masked in its logs, stays in its memory, and is fetched once more when
the cluster does not accept it. So no connection, no trigger and no file has it.
"""

from __future__ import annotations

import contextlib
import logging
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

import aiohttp
import urllib3.exceptions
import yaml
from airflow.providers.cncf.kubernetes.hooks.kubernetes import AsyncKubernetesHook, KubernetesHook
from kubernetes import client as sync_client  # type: ignore[import-untyped]
from kubernetes import config as sync_config
from kubernetes.client.exceptions import ApiException  # type: ignore[import-untyped]
from kubernetes_asyncio import client as async_client
from kubernetes_asyncio import config as async_config
from kubernetes_asyncio.client.exceptions import ApiException as AsyncApiException
from tenacity import AsyncRetrying, RetryCallState, Retrying

from airflow_provider_together.api.call import Call, Flow, Note, Step
from airflow_provider_together.api.client import AsyncSleep, Clock, NoteTaker, Sleep
from airflow_provider_together.api.phase import Phase
from airflow_provider_together.api.retry import retrying
from airflow_provider_together.exceptions import (
    AnswerLostError,
    ConfigurationError,
    NotFoundError,
    NotSentError,
    TogetherError,
)
from airflow_provider_together.hooks.connection_form import DEFAULT_CONNECTION
from airflow_provider_together.hooks.kubeconfig import mask_kubeconfig
from airflow_provider_together.hooks.secret_file import with_files
from airflow_provider_together.hooks.together import TogetherHook
from airflow_provider_together.training.job_flows import ClusterQuestion
from airflow_provider_together.training.kubernetes_api import error_for_status, place, read_answer

if TYPE_CHECKING:
    from airflow_provider_together.api.models import Cluster

T = TypeVar("T")

log = logging.getLogger(__name__)

#: Seconds that connecting may take, and seconds of silence while an answer comes.
_CONNECT_TIMEOUT, _READ_TIMEOUT = 10.0, 60.0
#: How often a request that a flow does not repeat itself is repeated.
_RETRIES = 4
_UNAUTHORIZED = 401


class GPUClusterKubernetesHook(KubernetesHook):
    """
    Kubernetes of a GPU cluster, for a worker. It is used as the hook of Airflow's own Kubernetes provider is.

    :param cluster_id: id of the GPU cluster.
    :param together_conn_id: connection of type ``together``.
    :param cluster_context: context of the kubeconfig; by default its current one.
    :param timeout: seconds of silence that a request bears; also that connecting may take, if that is less.
    :param repeats: whether the client itself repeats requests that did not get through.
    """

    def __init__(
        self,
        cluster_id: str,
        together_conn_id: str = DEFAULT_CONNECTION,
        *,
        cluster_context: str | None = None,
        timeout: float = _READ_TIMEOUT,
        repeats: bool = True,
    ) -> None:
        super().__init__(conn_id=None, kubernetes_conn_id=None, cluster_context=cluster_context)
        self.cluster_id = cluster_id
        self.together = TogetherHook(together_conn_id)
        self._timeout = (min(timeout, _CONNECT_TIMEOUT), timeout)
        self._repeats = repeats

    def get_conn(self) -> sync_client.ApiClient:
        """Return a client of the cluster."""
        self._is_in_cluster = False
        configuration = sync_client.Configuration()
        if not self._repeats:
            configuration.retries = False
        self._load(configuration)
        return _ApiClient(configuration, load=self._load, timeout=self._timeout)

    def get_urgent_conn(self, seconds: float) -> sync_client.ApiClient:
        """
        Return a client beside the one that may just be in use, for inside a signal handler.

        :param seconds: that connecting, and then an answer, may take.
        """
        configuration = self.api_client.configuration
        configuration.retries = False
        return _ApiClient(configuration, load=self._load, timeout=(seconds, seconds))

    def _load(self, configuration: sync_client.Configuration) -> None:
        """Fetch the kubeconfig, and set a client up by it."""
        text = self.together.get_kubeconfig(self.cluster_id)
        with _readable(self.cluster_id):
            sync_config.load_kube_config_from_dict(
                with_files(_document(text), owner=configuration),
                context=self.cluster_context,
                client_configuration=configuration,
            )


class AsyncGPUClusterKubernetesHook(AsyncKubernetesHook):
    """
    Kubernetes of a GPU cluster, for a triggerer.

    :param cluster_id: id of the GPU cluster.
    :param together_conn_id: connection of type ``together``.
    :param cluster_context: context of the kubeconfig; by default its current one.
    """

    def __init__(
        self,
        cluster_id: str,
        together_conn_id: str = DEFAULT_CONNECTION,
        *,
        cluster_context: str | None = None,
    ) -> None:
        super().__init__(conn_id=None, kubernetes_conn_id=None, cluster_context=cluster_context)
        self.cluster_id = cluster_id
        self.together = TogetherHook(together_conn_id)
        self._configuration: async_client.Configuration | None = None

    @contextlib.asynccontextmanager
    async def get_conn(self) -> AsyncIterator[async_client.ApiClient]:
        """Lend a client of the cluster. The kubeconfig is fetched for the first one, and when it is refused."""
        self._is_in_cluster = False
        if self._configuration is None:
            configuration = async_client.Configuration()
            await self._load(configuration)
            self._configuration = configuration
        api_client = _AsyncApiClient(self._configuration, load=self._load, timeout=(_CONNECT_TIMEOUT, _READ_TIMEOUT))
        try:
            yield api_client
        finally:
            await api_client.close()

    async def _load(self, configuration: async_client.Configuration) -> None:
        async with self.together.async_client() as together:
            cluster = await together.send(together.dialect.get_cluster(self.cluster_id))
        text = cluster.kubeconfig()
        if text is None:
            raise _without_kubeconfig(self.cluster_id)
        mask_kubeconfig(text)
        with _readable(self.cluster_id):
            await async_config.load_kube_config_from_dict(
                with_files(_document(text), owner=configuration),
                context=self.cluster_context,
                client_configuration=configuration,
            )


class _ApiClient(sync_client.ApiClient):  # type: ignore[misc]
    """
    A client that fetches the kubeconfig once more where the cluster does not accept it.

    :param load: sets a configuration up anew.
    :param timeout: seconds to connect, and of silence, for requests that do not say it.
    """

    def __init__(
        self,
        configuration: sync_client.Configuration,
        *,
        load: Callable[[sync_client.Configuration], None],
        timeout: tuple[float, float],
    ) -> None:
        super().__init__(configuration)
        self._load = load
        self._timeout = timeout
        self._close_with_client()

    def _close_with_client(self) -> None:
        """Close the connections with the client, which nobody closes."""
        weakref.finalize(self, self.rest_client.pool_manager.clear).atexit = False

    def call_api(self, *args: Any, renews: bool = True, **kwargs: Any) -> Any:
        """
        Send a request; with a new kubeconfig once more if the one that is known is refused.

        :param renews: whether to do that.
        """
        if kwargs.get("_request_timeout") is None:
            kwargs["_request_timeout"] = self._timeout
        try:
            return super().call_api(*args, **kwargs)
        except ApiException as error:
            if not renews or not _is_unauthorized(error):
                raise
        log.info("The cluster does not accept the kubeconfig; it is fetched once more.")
        self._load(self.configuration)
        self.rest_client = sync_client.rest.RESTClientObject(self.configuration)
        self._close_with_client()
        return super().call_api(*args, **kwargs)


class _AsyncApiClient(async_client.ApiClient):
    """
    The same for an event loop.

    :param load: sets a configuration up anew.
    :param timeout: seconds to connect, and of silence, for requests that do not say it.
    """

    def __init__(
        self,
        configuration: async_client.Configuration,
        *,
        load: Callable[[async_client.Configuration], Any],
        timeout: tuple[float, float],
    ) -> None:
        super().__init__(configuration)
        self._load = load
        self._timeout = timeout

    async def call_api(self, *args: Any, **kwargs: Any) -> Any:
        """Send a request; with a new kubeconfig once more if the one that is known is refused."""
        if kwargs.get("_request_timeout") is None:
            kwargs["_request_timeout"] = self._timeout
        try:
            answer = await super().call_api(*args, **kwargs)
        except AsyncApiException as error:
            if not _is_unauthorized(error):
                raise
        else:
            # Who reads the answer himself gets it whatever its status is.
            if getattr(answer, "status", None) != _UNAUTHORIZED:
                return answer
            answer.release()
        log.info("The cluster does not accept the kubeconfig; it is fetched once more.")
        await self._load(self.configuration)
        await self.rest_client.close()
        self.rest_client = async_client.rest.RESTClientObject(self.configuration)
        return await super().call_api(*args, **kwargs)


def _is_unauthorized(error: ApiException | AsyncApiException) -> bool:
    # A refused WebSocket has no status of its own, and says it in words.
    return error.status == _UNAUTHORIZED or f"status {_UNAUTHORIZED}" in str(error.reason)


class KubernetesDriver:
    """
    Sends the calls of :mod:`~airflow_provider_together.training.kubernetes_api`, and runs flows of them, in a worker.

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
        arguments = retrying(call, retries=_RETRIES, before_sleep=_log_repetition)
        result: T = Retrying(**arguments, sleep=sleep)(self._send_once, call)
        return result

    def run(self, flow: Flow[T], *, note: NoteTaker, sleep: Sleep = time.sleep) -> T:
        """
        Run a flow to its end.

        :param note: gets each note of the flow before the flow goes on.
        :param sleep: waits that many seconds; what it raises ends the flow.
        """
        try:
            step = next(flow)
            while True:
                try:
                    answer = self._do(step, note, sleep)
                except TogetherError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            flow.close()

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
            message = f"{place(call)} did not get through: {error.__context__.reason}"
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
        arguments = retrying(call, retries=_RETRIES, before_sleep=_log_repetition)
        result: T = await AsyncRetrying(**arguments, sleep=sleep)(self._send_once, call)
        return result

    async def run(self, flow: Flow[T], *, note: NoteTaker, sleep: AsyncSleep) -> T:
        """See :meth:`KubernetesDriver.run`."""
        try:
            step = next(flow)
            while True:
                try:
                    answer = await self._do(step, note, sleep)
                except TogetherError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            flow.close()

    async def _do(self, step: Step, note: NoteTaker, sleep: AsyncSleep) -> Any:
        if isinstance(step, Call):
            return await self.send(step, sleep=sleep)
        if isinstance(step, ClusterQuestion):
            return await self._fate()
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
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _refusal(call: Call[Any], error: ApiException) -> TogetherError:
    body = error.body or ""
    content = body if isinstance(body, bytes) else str(body).encode()
    return error_for_status(call, int(error.status or 0), _lower(error.headers or {}), content)


def _lower(headers: Any) -> dict[str, str]:
    return {str(name).lower(): str(value) for name, value in headers.items()}


def _document(text: str) -> dict[str, Any]:
    document = yaml.safe_load(text)
    if not isinstance(document, dict):
        message = "it is no mapping"
        raise ValueError(message)  # noqa: TRY004 - told as every other fault of the text
    return document


@contextlib.contextmanager
def _readable(cluster_id: str) -> Iterator[None]:
    """Name the cluster whose kubeconfig cannot be read, without a word of what it holds."""
    try:
        yield
    except (ValueError, TypeError, KeyError, yaml.YAMLError, sync_config.ConfigException, async_config.ConfigException):
        message = f"the kubeconfig that Together sends for cluster {cluster_id} cannot be read"
        raise ConfigurationError(message) from None


def _without_kubeconfig(cluster_id: str) -> ConfigurationError:
    return ConfigurationError(f"cluster {cluster_id} has no kubeconfig: wait until it is READY")


def _word(cluster: Cluster) -> str:
    """Return the word that says that a GPU cluster is gone or going; an empty one if it is not."""
    return cluster.status if cluster.phase in {Phase.DELETING, Phase.GONE} else ""


def _word_of(error: TogetherError) -> str:
    return "not known to Together any more" if isinstance(error, NotFoundError) else ""


def _log_repetition(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome is not None else None
    log.warning("%s; trying again in %.1f s.", error, state.upcoming_sleep)

"""
The way to a GPU cluster's Kubernetes: by the id of the cluster, with a kubeconfig that is fetched when it is needed.

A kubeconfig makes its holder an admin of the cluster. It is fetched through the Together connection by whoever talks
to the cluster, the worker or the triggerer, is masked in its logs, stays in its memory, and is fetched once more when
the cluster does not accept it, or shows a certificate that it does not vouch for. So no connection, no trigger and no
file has it.
"""

from __future__ import annotations

import contextlib
import logging
import ssl
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

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

from airflow_provider_together.exceptions import ConfigurationError
from airflow_provider_together.hooks.together import TogetherHook
from airflow_provider_together.runtime.connection_form import DEFAULT_CONNECTION
from airflow_provider_together.runtime.secret_file import with_files

log = logging.getLogger(__name__)

#: Seconds that connecting may take, and seconds of silence while an answer comes.
_CONNECT_TIMEOUT, _READ_TIMEOUT = 10.0, 60.0
_UNAUTHORIZED = 401
_OUTDATED = "The cluster and the kubeconfig do not accept each other; it is fetched once more."
#: Where a client's configuration keeps those whose files it names: of the present kubeconfig, and of the last one,
#: with which another thread may just be connecting.
_FILES, _KUBECONFIGS = "_together_files", 2


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
                with_files(_document(text), owner=_holder_of_files(configuration)),
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
        text = await self.together.aget_kubeconfig(self.cluster_id)
        with _readable(self.cluster_id):
            await async_config.load_kube_config_from_dict(
                with_files(_document(text), owner=_holder_of_files(configuration)),
                context=self.cluster_context,
                client_configuration=configuration,
            )


class _ApiClient(sync_client.ApiClient):  # type: ignore[misc]
    """
    A client that fetches the kubeconfig once more where it and the cluster do not accept each other.

    :param load: sets a configuration up again.
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
        self._close = self._closing()

    def _closing(self) -> weakref.finalize[..., _ApiClient]:
        """Return what closes the connections, at the latest with the client, which nobody closes."""
        closing = weakref.finalize(self, self.rest_client.pool_manager.clear)
        closing.atexit = False
        return closing

    def call_api(self, *args: Any, renews: bool = True, **kwargs: Any) -> Any:
        """
        Send a request; with a new kubeconfig once more if the one that is known is refused.

        :param renews: whether to do that.
        """
        if kwargs.get("_request_timeout") is None:
            kwargs["_request_timeout"] = self._timeout
        try:
            return super().call_api(*args, **kwargs)
        # Over a certificate that is not trusted the client itself stumbles, with an AttributeError.
        except (ApiException, AttributeError, urllib3.exceptions.HTTPError) as error:
            if not renews or not _is_outdated(error):
                raise
        log.info(_OUTDATED)
        self._load(self.configuration)
        self._close()
        self.rest_client = sync_client.rest.RESTClientObject(self.configuration)
        self._close = self._closing()
        return super().call_api(*args, **kwargs)


class _AsyncApiClient(async_client.ApiClient):
    """
    The same for an event loop.

    :param load: sets a configuration up again.
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
        except (AsyncApiException, aiohttp.ClientError) as error:
            if not _is_outdated(error):
                raise
        else:
            # Who reads the answer himself gets it whatever its status is.
            if getattr(answer, "status", None) != _UNAUTHORIZED:
                return answer
            answer.release()
        log.info(_OUTDATED)
        await self._load(self.configuration)
        await self.rest_client.close()
        self.rest_client = async_client.rest.RESTClientObject(self.configuration)
        return await super().call_api(*args, **kwargs)


def _is_outdated(error: BaseException) -> bool:
    """Whether the cluster refuses the kubeconfig's token, or shows a certificate that the kubeconfig does not know."""
    if isinstance(error, (ApiException, AsyncApiException)) and (
        # A refused WebSocket has no status of its own, and says it in words.
        error.status == _UNAUTHORIZED or f"status {_UNAUTHORIZED}" in str(error.reason)
    ):
        return True
    return any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all that have led to it."""
    yield error
    for cause in {error.__cause__, error.__context__}:
        if cause is not None:
            yield from _causes(cause)


class _FilesHolder:
    """Lives as long as the files of one kubeconfig, which are closed with it."""


def _holder_of_files(configuration: sync_client.Configuration | async_client.Configuration) -> _FilesHolder:
    """Return what the files of a new kubeconfig live with; those of all but the last one are closed."""
    holder = _FilesHolder()
    vars(configuration).setdefault(_FILES, deque(maxlen=_KUBECONFIGS)).append(holder)
    return holder


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

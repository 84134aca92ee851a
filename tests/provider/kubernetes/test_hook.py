"""The way to a cluster: what comes of it when something is in the way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_together.api import models
from airflow_provider_together.api.call import Call
from airflow_provider_together.emulator import Emulator
from airflow_provider_together.emulator.kubernetes.handle import KubernetesHandle
from airflow_provider_together.exceptions import (
    AuthenticationError,
    ConfigurationError,
    NotFoundError,
    NotSentError,
    ServerError,
)
from airflow_provider_together.hooks.kubernetes import AsyncGPUClusterKubernetesHook, GPUClusterKubernetesHook
from airflow_provider_together.jobs.cluster import ClusterQuestion
from airflow_provider_together.jobs.kubernetes import api as kubernetes_api
from airflow_provider_together.runtime.kubernetes_driver import AsyncKubernetesDriver, KubernetesDriver

LOOK = kubernetes_api.get_job("default", "train")
Send = Callable[..., Any]


@pytest.fixture(params=["worker", "triggerer"])
def send(request: pytest.FixtureRequest) -> Send:
    """Send one call, as a worker or as a triggerer does, noting how long it would wait before each repetition."""

    def of_worker(cluster_id: str, call: Call[Any], waits: list[float]) -> Any:
        return KubernetesDriver(GPUClusterKubernetesHook(cluster_id, repeats=False)).send(call, sleep=waits.append)

    def of_triggerer(cluster_id: str, call: Call[Any], waits: list[float]) -> Any:
        async def sleep(seconds: float) -> None:
            waits.append(seconds)

        async def run() -> Any:
            async with AsyncKubernetesDriver(AsyncGPUClusterKubernetesHook(cluster_id)) as driver:
                return await driver.send(call, sleep=sleep)

        return asyncio.run(asyncio.wait_for(run(), timeout=60))

    return of_worker if request.param == "worker" else of_triggerer


def leading(monkeypatch: pytest.MonkeyPatch, change: Callable[[str], str]) -> None:
    """Change every kubeconfig."""
    decode = models.decode_kubeconfig
    monkeypatch.setattr(models, "decode_kubeconfig", lambda raw: change(decode(raw)))


def test_what_is_not_there_is_told(send: Send, cluster_id: str) -> None:
    with pytest.raises(NotFoundError, match="read job 'train'"):
        send(cluster_id, LOOK, [])


def test_what_fails_is_repeated_and_then_told(send: Send, cluster_id: str, kubernetes: KubernetesHandle) -> None:
    kubernetes.fail_next(503, times=2)
    waits: list[float] = []
    with pytest.raises(NotFoundError):
        send(cluster_id, LOOK, waits)
    assert len(waits) == 2
    kubernetes.fail_next(503, times=100)
    with pytest.raises(ServerError):
        send(cluster_id, LOOK, [])
    waits.clear()
    with pytest.raises(ServerError):
        send(cluster_id, LOOK.once(), waits)
    assert waits == []


def test_nobody_at_the_address_is_told(send: Send, cluster_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    leading(monkeypatch, lambda text: text.replace("https://127.0.0.1:", "https://127.0.0.1:1/"))
    with pytest.raises(NotSentError, match="did not get through"):
        send(cluster_id, LOOK.once(), [])


def test_a_server_of_somebody_else_is_not_trusted(
    send: Send, cluster_id: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    leading(monkeypatch, lambda text: "\n".join(line for line in text.splitlines() if "authority" not in line))
    before = fetched(emulator)
    with pytest.raises(NotSentError, match=r"(?i)certificate"):
        send(cluster_id, LOOK.once(), [])
    assert fetched(emulator) - before == 2  # for the look, and once more


def fetched(emulator: Emulator) -> int:
    """Return how often a kubeconfig was fetched."""
    return sum(request.route == "get_cluster" for request in emulator.requests)


def test_whoever_finds_another_certificate_fetches_the_kubeconfig_once(
    cluster_id: str, emulator: Emulator, kubernetes: KubernetesHandle
) -> None:
    driver = KubernetesDriver(GPUClusterKubernetesHook(cluster_id, repeats=False))
    files = open_files()
    for _ in range(5):
        with pytest.raises(NotFoundError):
            driver.send(LOOK)
        kubernetes.rotate_certificate()
    assert fetched(emulator) == 5
    assert open_files() - files < 5  # those of earlier kubeconfigs are closed


def test_so_does_a_triggerer(cluster_id: str, emulator: Emulator, kubernetes: KubernetesHandle) -> None:
    async def look() -> None:
        async with AsyncKubernetesDriver(AsyncGPUClusterKubernetesHook(cluster_id)) as driver:
            for _ in range(5):
                with pytest.raises(NotFoundError):
                    await driver.send(LOOK, sleep=asyncio.sleep)
                await asyncio.to_thread(kubernetes.rotate_certificate)

    files = open_files()
    asyncio.run(asyncio.wait_for(look(), timeout=60))
    assert fetched(emulator) == 5
    assert open_files() - files < 5


def open_files() -> int:
    """Return how many files in memory are open."""
    names = []
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # another thread has closed it
            names.append(str(path.readlink()))
    return sum("memfd:kubeconfig" in name for name in names)


def test_a_token_that_is_refused_twice_is_told_after_one_more_look_at_the_kubeconfig(
    send: Send, cluster_id: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    leading(monkeypatch, lambda text: text.replace("token: ", "token: wrong"))
    before = len(emulator.requests)
    with pytest.raises(AuthenticationError):
        send(cluster_id, LOOK, [])
    assert sum(request.route == "get_cluster" for request in emulator.requests[before:]) == 2


@pytest.mark.parametrize("text", ["[1, 2]", "clusters: [", "users: []", "a: b"])
def test_a_kubeconfig_that_cannot_be_read_is_not_repeated_in_the_message(
    send: Send, cluster_id: str, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    leading(monkeypatch, lambda _: text)
    with pytest.raises(ConfigurationError, match=f"sends for cluster {cluster_id} cannot be read") as caught:
        send(cluster_id, LOOK, [])
    assert text not in str(caught.value)


def test_a_cluster_without_a_kubeconfig_says_to_wait(
    send: Send, cluster_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models.Cluster, "kubeconfig", lambda _: None)
    with pytest.raises(ConfigurationError, match="has no kubeconfig: wait until it is READY"):
        send(cluster_id, LOOK, [])


@pytest.mark.parametrize("is_gone", [False, True])
def test_together_tells_whether_the_cluster_is_still_there(cluster_id: str, emulator: Emulator, is_gone: bool) -> None:
    from airflow_provider_together.hooks.together import TogetherHook

    if is_gone:
        TogetherHook().delete_gpu_cluster(cluster_id)
        emulator.advance(3600)

    async def ask() -> str:
        async with AsyncKubernetesDriver(AsyncGPUClusterKubernetesHook(cluster_id)) as driver:
            return await driver.run(iter_of(ClusterQuestion()), note=lambda _: None, sleep=asyncio.sleep)

    def iter_of(question: ClusterQuestion) -> Any:
        return (yield from question)

    word = KubernetesDriver(GPUClusterKubernetesHook(cluster_id)).run(iter_of(ClusterQuestion()), note=lambda _: None)
    assert bool(word) is is_gone
    assert asyncio.run(ask()) == word

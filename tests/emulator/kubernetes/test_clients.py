"""Clients that others wrote, beside the synchronous one that all tests use: the asynchronous one."""

from __future__ import annotations

import asyncio
from typing import Any

import kubernetes_asyncio.client
import kubernetes_asyncio.config
import kubernetes_asyncio.watch

from tests.emulator.kubernetes.lab import PATIENCE, Lab, pod


def test_the_asynchronous_client_creates_watches_reads_and_deletes(lab: Lab) -> None:
    async def talk() -> tuple[list[str], str]:
        configuration: Any = kubernetes_asyncio.client.Configuration()
        await kubernetes_asyncio.config.load_kube_config_from_dict(lab.kubeconfig, client_configuration=configuration)
        async with kubernetes_asyncio.client.ApiClient(configuration) as client:
            core: Any = kubernetes_asyncio.client.CoreV1Api(client)
            # From this version on nothing is missed.
            version = (await core.list_namespaced_pod("default")).metadata.resource_version
            made = await core.create_namespaced_pod("default", pod("async", "sleep 0.1; echo hello"))
            phases: list[str] = []
            field = f"metadata.name={made.metadata.name}"
            async with kubernetes_asyncio.watch.Watch() as watch:
                options = {"field_selector": field, "resource_version": version, "timeout_seconds": int(PATIENCE)}
                events = watch.stream(core.list_namespaced_pod, "default", **options)
                async for event in events:
                    if event["object"].status.phase not in phases:
                        phases.append(event["object"].status.phase)
                    if phases[-1] == "Succeeded":
                        break
            log = await core.read_namespaced_pod_log(made.metadata.name, "default")
            await core.delete_namespaced_pod(made.metadata.name, "default")
            return phases, str(log)

    phases, log = asyncio.run(talk())
    assert phases == ["Pending", "Running", "Succeeded"]
    assert log == "hello\n"
    assert lab.handle.pods() == []

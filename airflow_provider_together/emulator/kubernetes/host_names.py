"""
The addresses of pods, and the names that lead to them.

Every pod has an address of its own on loopback, so that two may listen on the same port. A pod that has a hostname
and a subdomain has the address of its name, which is settled before the pod is there: its fellows may be told the name
first. It imports the store.
"""

from __future__ import annotations

import random

from airflow_provider_together.emulator.kubernetes.objects import Object, find, meta
from airflow_provider_together.emulator.kubernetes.store import Store


class Addresses:
    """Hands out addresses in 127.0.0.0/8, none of them twice."""

    def __init__(self) -> None:
        self._random = random.SystemRandom()
        self._taken: set[str] = set()
        self._by_name: dict[str, str] = {}

    def of_pod(self, pod: Object) -> str:
        """Return the address for a pod."""
        host, subdomain = find(pod, "spec.hostname"), find(pod, "spec.subdomain")
        if host and subdomain:
            return self.of_name(f"{host}.{subdomain}.{meta(pod)['namespace']}")
        return self._new()

    def of_name(self, name: str) -> str:
        """Return the address of ``HOST.SERVICE.NAMESPACE``."""
        if name not in self._by_name:
            self._by_name[name] = self._new()
        return self._by_name[name]

    def _new(self) -> str:
        # Random ones, since other emulators may run on this machine, and the first block is everybody's.
        while True:
            address = ".".join(["127", *(str(self._random.randint(1, 254)) for _ in range(3))])
            if address not in self._taken:
                self._taken.add(address)
                return address


def known_names(store: Store, addresses: Addresses, namespace: str) -> dict[str, str]:
    """
    Return the names of hosts that a pod in a namespace can use, with their addresses.

    They are those of pods that have a hostname and a subdomain, and those that the pods of indexed Jobs will have. As
    in Kubernetes there has to be a Service of the subdomain's name.
    """
    services = {meta(service)["name"] for service in store.all("services", namespace)}
    hosts = {(find(pod, "spec.hostname"), find(pod, "spec.subdomain")) for pod in store.all("pods", namespace)}
    for job in store.all("jobs", namespace):
        if find(job, "spec.completionMode") == "Indexed":
            subdomain = find(job, "spec.template.spec.subdomain")
            hosts |= {(f"{meta(job)['name']}-{index}", subdomain) for index in range(job["spec"]["completions"])}
    names = {}
    for host, subdomain in hosts:
        if host and subdomain in services:
            address = addresses.of_name(f"{host}.{subdomain}.{namespace}")
            short = f"{host}.{subdomain}"
            for suffix in ("", f".{namespace}", f".{namespace}.svc", f".{namespace}.svc.cluster.local"):
                names[f"{short}{suffix}"] = address
    return names

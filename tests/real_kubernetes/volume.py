"""A shared volume on the real server, as Together puts it into a cluster: a PersistentVolume of its name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.real_kubernetes.looking import wait_until

#: The one that is attached to the cluster of the tests.
VOLUME = "datasets"
#: Of each volume; Together's may be any.
STORAGE_CLASS = "of-these-tests"

_VOLUMES = "/api/v1/persistentvolumes"
_CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"


@contextmanager
def shared_volume(kubernetes: httpx.Client, name: str, folder: Path, *, size: str = "1Ti") -> Iterator[None]:
    """
    Offer a folder as a shared volume; with the claims to it, it is gone afterwards.

    :param size: a quantity of Kubernetes.
    """
    manifest = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": size},
            "accessModes": ["ReadWriteMany"],
            "storageClassName": STORAGE_CLASS,
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": str(folder)},
        },
    }
    kubernetes.post(_VOLUMES, json=manifest).raise_for_status()
    try:
        yield
    finally:
        for path in (_CLAIMS, _VOLUMES):
            kubernetes.delete(path).raise_for_status()
        wait_until(lambda: kubernetes.get(f"{_VOLUMES}/{name}").status_code == httpx.codes.NOT_FOUND)

"""
Shared volumes as PersistentVolumes, the claims to them, and the folders that a pod's volumes are on this machine.

The data of a shared volume belong to its id, and outlive the cluster; all else goes with its pod.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from airflow_provider_together.emulator.kubernetes.environment import data_of
from airflow_provider_together.emulator.kubernetes.inventory import Inventory, SharedVolume
from airflow_provider_together.emulator.kubernetes.objects import Object, find, meta
from airflow_provider_together.emulator.kubernetes.store import Store

#: The class of Together's shared volumes, as far as its documentation tells.
STORAGE_CLASS = "shared-wekafs"
#: Annotation of a PersistentVolume: the id of its shared volume.
_VOLUME_ID = "emulator.together.ai/volume-id"


def match_volumes(store: Store, inventory: Inventory) -> None:
    """Let there be a PersistentVolume for each shared volume, of its name and size, and no other."""
    present = {_id_of(volume): volume for volume in store.all("persistentvolumes")}
    for shared in inventory.volumes:
        if shared.volume_id not in present:
            store.create("persistentvolumes", _persistent_volume(shared))
            continue

        def grow(new: Object, size: int = shared.size_tib) -> None:
            new["spec"]["capacity"] = {"storage": f"{size}Ti"}

        store.update("persistentvolumes", present[shared.volume_id], grow)
    for volume_id in set(present) - {shared.volume_id for shared in inventory.volumes}:
        store.remove("persistentvolumes", present[volume_id])


def set_storage_class(store: Store, volume: Object, storage_class: str) -> None:
    """Let a volume have another class, or none; a claim that is bound to it stays so."""

    def change(new: Object) -> None:
        new["spec"]["storageClassName"] = storage_class

    store.update("persistentvolumes", volume, change)


def bind_claims(store: Store) -> None:
    """Bind each claim that waits to the volume that it names, if it fits."""
    for claim in store.all("persistentvolumeclaims"):
        volume = store.find("persistentvolumes", "", claim["spec"]["volumeName"])
        if find(claim, "status.phase") == "Bound" or volume is None:
            continue
        if problem := _misfit(volume, claim):
            message = f'Cannot bind to requested volume "{meta(volume)["name"]}": {problem}'
            store.record_event(claim, "VolumeMismatch", message, kind="Warning")
            continue
        _bind(store, claim, volume)


def unbound_reason(store: Store, pod: Object) -> str:
    """Return why the claims of a pod keep it waiting; empty if they do not."""
    for volume in pod["spec"].get("volumes") or ():
        if name := find(volume, "persistentVolumeClaim.claimName"):
            claim = store.find("persistentvolumeclaims", meta(pod)["namespace"], name)
            if claim is None:
                return f'persistentvolumeclaim "{name}" not found'
            if find(claim, "status.phase") != "Bound":
                return "pod has unbound immediate PersistentVolumeClaims"
    return ""


def prepare_volumes(store: Store, pod: Object, folder: Path, shared: Path) -> dict[str, Path]:
    """
    Return the folder of each volume of a pod by its name, with the files of its Secrets and ConfigMaps.

    :param folder: the pod's own.
    :param shared: the folder of all shared volumes.
    :raises MissingSourceError: if a Secret or a ConfigMap is not there.
    """
    folders: dict[str, Path] = {}
    for volume in pod["spec"].get("volumes") or ():
        path = folder / "volumes" / volume["name"]
        if name := find(volume, "persistentVolumeClaim.claimName"):
            claim = store.get("persistentvolumeclaims", meta(pod)["namespace"], name)
            path = shared / _id_of(store.get("persistentvolumes", "", claim["spec"]["volumeName"]))
        path.mkdir(parents=True, exist_ok=True)
        for file, content in _files(store, meta(pod)["namespace"], volume).items():
            (path / file).parent.mkdir(parents=True, exist_ok=True)
            (path / file).write_bytes(content)
        folders[volume["name"]] = path
    return folders


def remove_dead_volumes(shared: Path, living: set[str]) -> None:
    """Remove the data of shared volumes that are gone."""
    for path in shared.iterdir() if shared.exists() else ():
        if path.name not in living:
            shutil.rmtree(path, ignore_errors=True)


def _files(store: Store, namespace: str, volume: Object) -> dict[str, bytes]:
    for field, plural, name_field in (("secret", "secrets", "secretName"), ("configMap", "configmaps", "name")):
        if source := volume.get(field):
            data = data_of(store, plural, namespace, {**source, "name": source.get(name_field)})
            items = source.get("items") or [{"key": key, "path": key} for key in data]
            return {item["path"]: data[item["key"]] for item in items if item["key"] in data}
    return {}


def _misfit(volume: Object, claim: Object) -> str:
    spec, wish, reference = volume["spec"], claim["spec"], find(volume, "spec.claimRef")
    if reference and reference["uid"] != meta(claim)["uid"]:
        return "it is already bound to a different claim"
    if (spec.get("storageClassName") or "") != (wish.get("storageClassName") or ""):
        return "storageClassName does not match"
    if not set(wish["accessModes"]) <= set(spec["accessModes"]):
        return "incompatible accessMode"
    return ""


def _bind(store: Store, claim: Object, volume: Object) -> None:
    def hold(new: Object) -> None:
        place = {name: meta(claim)[name] for name in ("namespace", "name", "uid")}
        new["spec"]["claimRef"] = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", **place}
        new["status"] = {"phase": "Bound"}

    def have(new: Object) -> None:
        new["status"] = {"phase": "Bound", **{name: volume["spec"][name] for name in ("accessModes", "capacity")}}

    store.update("persistentvolumes", volume, hold)
    store.update("persistentvolumeclaims", claim, have)


def _persistent_volume(shared: SharedVolume) -> Object:
    return {
        "metadata": {"name": shared.name, "annotations": {_VOLUME_ID: shared.volume_id}},
        "spec": {
            "capacity": {"storage": f"{shared.size_tib}Ti"},
            "accessModes": ["ReadWriteMany"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": STORAGE_CLASS,
            "volumeMode": "Filesystem",
            "csi": {"driver": "csi.weka.io", "volumeHandle": shared.volume_id},
        },
        "status": {"phase": "Available"},
    }


def _id_of(volume: Object) -> str:
    return str(meta(volume)["annotations"][_VOLUME_ID])

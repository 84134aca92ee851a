"""
Persistent volumes and the claims to them: one volume for each shared volume of the cluster, named like it.

It imports the store. Where the data are is the business of ``folders.py``.
"""

from __future__ import annotations

from collections.abc import Iterable

from airflow_provider_together.emulator.kubernetes.events import NORMAL, WARNING, Recorder
from airflow_provider_together.emulator.kubernetes.inventory import Inventory, SharedVolume
from airflow_provider_together.emulator.kubernetes.objects import Object, find, is_terminating, meta, quantity
from airflow_provider_together.emulator.kubernetes.store import Store

#: The class of Together's shared volumes, as far as its documentation tells.
STORAGE_CLASS = "shared-wekafs"
#: Tells which shared volume a persistent volume stands for.
VOLUME_ID = "emulator.together.ai/volume-id"
_COMPONENT = "persistentvolume-controller"


def match_volumes(store: Store, inventory: Inventory) -> None:
    """Let there be a persistent volume for each shared volume, and none for one that is attached no more."""
    wanted = {volume.volume_id: volume for volume in inventory.volumes}
    present = {volume_id_of(volume): volume for volume in store.all("persistentvolumes") if volume_id_of(volume)}
    taken = {meta(volume)["name"] for volume in store.all("persistentvolumes")}
    for volume_id, shared in wanted.items():
        if volume_id in present:
            _grow(store, present[volume_id], shared)
        elif shared.name not in taken:
            store.create("persistentvolumes", _persistent_volume(shared))
    for volume_id, volume in present.items():
        if volume_id not in wanted:
            store.remove("persistentvolumes", "", meta(volume)["name"])


def bind_claims(store: Store) -> None:
    """Bind claims to the volumes that they name, or else to one that fits; let go of volumes whose claims are gone."""
    claims = {meta(claim)["uid"]: claim for claim in store.all("persistentvolumeclaims")}
    for volume in store.all("persistentvolumes"):
        reference = find(volume, "spec.claimRef")
        if reference and reference.get("uid") not in claims and find(volume, "status.phase") == "Bound":
            store.update("persistentvolumes", "", meta(volume)["name"], _release)
    for claim in claims.values():
        if find(claim, "status.phase") == "Pending" and not is_terminating(claim):
            _bind(store, claim)


def unbound_reason(store: Store, pod: Object) -> str:
    """Return why the claims of a pod keep it from being scheduled; empty if they do not."""
    for name in _claim_names(pod):
        claim = store.find("persistentvolumeclaims", meta(pod)["namespace"], name)
        if claim is None:
            return f'persistentvolumeclaim "{name}" not found'
        if find(claim, "status.phase") != "Bound":
            return "pod has unbound immediate PersistentVolumeClaims"
    return ""


def set_storage_class(store: Store, name: str, storage_class: str) -> None:
    """
    Let a volume have another class, or none; a claim that is bound to it stays so.

    :raises ApiError: 404 if there is no such volume.
    """

    def change(volume: Object) -> None:
        volume["spec"]["storageClassName"] = storage_class

    store.update("persistentvolumes", "", name, change)


def volume_id_of(volume: Object) -> str:
    """Return the id of the shared volume behind a persistent volume; empty if there is none."""
    return str((meta(volume).get("annotations") or {}).get(VOLUME_ID, ""))


def _claim_names(pod: Object) -> Iterable[str]:
    volumes = pod["spec"].get("volumes") or ()
    return [volume["persistentVolumeClaim"]["claimName"] for volume in volumes if volume.get("persistentVolumeClaim")]


def _persistent_volume(shared: SharedVolume) -> Object:
    return {
        "metadata": {"name": shared.name, "annotations": {VOLUME_ID: shared.volume_id}},
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


def _grow(store: Store, volume: Object, shared: SharedVolume) -> None:
    def grow(new: Object) -> None:
        new["spec"]["capacity"] = {"storage": f"{shared.size_tib}Ti"}

    store.update("persistentvolumes", "", meta(volume)["name"], grow)


def _release(volume: Object) -> None:
    # Retained: somebody has to take the claim's name off before another claim can have it.
    volume["status"] = {"phase": "Released"}


def _bind(store: Store, claim: Object) -> None:
    volume = _find_volume(store, claim)
    if volume is None:
        return
    metadata = meta(claim)
    reference = find(volume, "spec.claimRef")
    if reference and not _is_for(reference, claim):
        message = f'volume "{meta(volume)["name"]}" already bound to a different claim.'
        Recorder(store, _COMPONENT).record_once(claim, WARNING, "FailedBinding", message)
        return

    def hold(new: Object) -> None:
        fields = {"namespace": metadata["namespace"], "name": metadata["name"], "uid": metadata["uid"]}
        new["spec"]["claimRef"] = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", **fields}
        new["status"] = {"phase": "Bound"}

    def have(new: Object) -> None:
        new["spec"]["volumeName"] = meta(volume)["name"]
        spec = volume["spec"]
        new["status"] = {"phase": "Bound", "accessModes": spec["accessModes"], "capacity": spec["capacity"]}

    store.update("persistentvolumes", "", meta(volume)["name"], hold)
    store.update("persistentvolumeclaims", metadata["namespace"], metadata["name"], have)


def _find_volume(store: Store, claim: Object) -> Object | None:
    wanted = find(claim, "spec.volumeName")
    if wanted:
        volume = store.find("persistentvolumes", "", wanted)
        if volume is None:
            return None
        problem = _misfit(volume, claim)
        if problem:
            Recorder(store, _COMPONENT).record_once(
                claim, WARNING, "VolumeMismatch", f'Cannot bind to requested volume "{wanted}": {problem}'
            )
            return None
        return volume
    for volume in store.all("persistentvolumes"):
        if not find(volume, "spec.claimRef") and not _misfit(volume, claim):
            return volume
    message = "no persistent volumes available for this claim and no storage class is set"
    Recorder(store, _COMPONENT).record_once(claim, NORMAL, "FailedBinding", message)
    return None


def _misfit(volume: Object, claim: Object) -> str:
    spec, wish = volume["spec"], claim["spec"]
    if (spec.get("storageClassName") or "") != (wish.get("storageClassName") or ""):
        return "storageClassName does not match"
    if not set(wish.get("accessModes") or ()) <= set(spec.get("accessModes") or ()):
        return "incompatible accessMode"
    if quantity(find(wish, "resources.requests.storage") or 0) > quantity(find(spec, "capacity.storage") or 0):
        return "requested PV is too small"
    return ""


def _is_for(reference: Object, claim: Object) -> bool:
    names = (reference.get("namespace"), reference.get("name"))
    return names == (meta(claim)["namespace"], meta(claim)["name"]) and reference.get("uid") in (
        None,
        meta(claim)["uid"],
    )

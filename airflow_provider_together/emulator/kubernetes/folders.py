"""
Where the data of volumes are: shared volumes in folders that outlive clusters, all else in the folder of a pod.

It makes and removes folders; which there are to be is decided elsewhere.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from airflow_provider_together.emulator.kubernetes.claims import volume_id_of
from airflow_provider_together.emulator.kubernetes.environment import LookUp, field_of, find_data
from airflow_provider_together.emulator.kubernetes.objects import Object, find, meta
from airflow_provider_together.emulator.kubernetes.store import Store

_SUPPORTED = "emptyDir, configMap, secret, downwardAPI, projected, persistentVolumeClaim"


class MountError(Exception):
    """A volume of a pod is not available."""


class SharedFolders:
    """
    The folders of shared volumes, by the volume's id.

    :param root: the folder that they are in.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def folder(self, volume_id: str) -> Path:
        """Return a volume's folder, which is made when it is first asked for."""
        path = self._root / volume_id
        path.mkdir(parents=True, exist_ok=True)
        return path

    def keep_only(self, volume_ids: set[str]) -> None:
        """Remove the data of volumes that are gone."""
        if self._root.exists():
            for path in self._root.iterdir():
                if path.name not in volume_ids:
                    shutil.rmtree(path, ignore_errors=True)


def prepare_volumes(pod: Object, folder: Path, *, store: Store, shared: SharedFolders) -> dict[str, Path]:
    """
    Return the folder of every volume of a pod by its name, filled where that is the server's business.

    :param folder: the pod's own.
    :raises MountError: if a volume is of a kind that the emulator does not have, or its claim is not bound.
    :raises MissingSourceError: if a volume comes from what is not there.
    """
    namespace = meta(pod)["namespace"]

    def look_up(plural: str, name: str) -> Object | None:
        return store.find(plural, namespace, name)

    folders: dict[str, Path] = {}
    for volume in pod["spec"].get("volumes") or ():
        name, path = volume["name"], folder / "volumes" / volume["name"]
        if volume.get("persistentVolumeClaim"):
            persistent = _bound_volume(volume["persistentVolumeClaim"]["claimName"], store, look_up)
            volume_id = volume_id_of(persistent)
            path = shared.folder(volume_id) if volume_id else path
        path.mkdir(parents=True, exist_ok=True)
        for file, content in _contents(volume, pod, look_up).items():
            (path / file).parent.mkdir(parents=True, exist_ok=True)
            (path / file).write_bytes(content)
        folders[name] = path
    return folders


def _bound_volume(claim_name: str, store: Store, look_up: LookUp) -> Object:
    claim = look_up("persistentvolumeclaims", claim_name)
    volume = claim and store.find("persistentvolumes", "", str(find(claim, "spec.volumeName")))
    if not volume:
        message = f'persistentvolumeclaim "{claim_name}" is not bound'
        raise MountError(message)
    return volume


def _contents(volume: Object, pod: Object, look_up: LookUp) -> dict[str, bytes]:
    """Return the files that a volume begins with."""
    if "emptyDir" in volume or "persistentVolumeClaim" in volume or set(volume) == {"name"}:
        return {}
    sources = find(volume, "projected.sources") or () if "projected" in volume else [volume]
    return {path: content for one in sources for path, content in _files(one, pod, look_up, volume["name"]).items()}


def _files(source: Object, pod: Object, look_up: LookUp, volume: str) -> dict[str, bytes]:
    for field, plural, name_field in (("configMap", "configmaps", "name"), ("secret", "secrets", "secretName")):
        reference = source.get(field)
        if reference:
            name = reference.get(name_field) or reference.get("name")
            data = find_data(plural, name, look_up=look_up, is_optional=bool(reference.get("optional")))
            items = reference.get("items")
            return data if not items else {item["path"]: data[item["key"]] for item in items if item["key"] in data}
    if source.get("downwardAPI"):
        items = source["downwardAPI"].get("items") or ()
        return {item["path"]: field_of(item["fieldRef"]["fieldPath"], pod).encode() for item in items}
    kinds = ", ".join(sorted(set(source) - {"name"}))
    message = f"volume {volume!r} is of kind {kinds}, which the emulator does not have; it has {_SUPPORTED}"
    raise MountError(message)

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
    """A volume of a pod cannot be had."""


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


class PodVolumes:
    """
    The volumes of one pod.

    :param folder: the pod's own.
    """

    def __init__(self, pod: Object, folder: Path, *, store: Store, shared: SharedFolders) -> None:
        self._pod = pod
        self._folder = folder
        self._store = store
        self._shared = shared

    def prepare(self) -> dict[str, Path]:
        """
        Return the folder of every volume, filled where that is the server's business.

        :raises MountError: if a volume is of a kind that the emulator does not have.
        :raises MissingSourceError: if a volume comes from what is not there.
        """
        return {volume["name"]: self._prepare(volume) for volume in self._pod["spec"].get("volumes") or ()}

    def _prepare(self, volume: Object) -> Path:
        path: Path = self._folder / "volumes" / volume["name"]
        if volume.get("persistentVolumeClaim"):
            return self._claimed(volume["persistentVolumeClaim"]["claimName"], path)
        path.mkdir(parents=True, exist_ok=True)
        if "emptyDir" in volume or set(volume) == {"name"}:
            return path
        sources = volume["projected"].get("sources") or () if volume.get("projected") else [volume]
        for source in sources:
            for name, content in _files(source, self._pod, self._look_up, volume["name"]).items():
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                (path / name).write_bytes(content)
        return path

    def _claimed(self, name: str, path: Path) -> Path:
        claim = self._look_up("persistentvolumeclaims", name)
        volume = claim and self._store.find("persistentvolumes", "", str(find(claim, "spec.volumeName")))
        if not volume:
            message = f'persistentvolumeclaim "{name}" is not bound'
            raise MountError(message)
        volume_id = volume_id_of(volume)
        if volume_id:
            return self._shared.folder(volume_id)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def _look_up(self, plural: str, name: str) -> Object | None:
        return self._store.find(plural, meta(self._pod)["namespace"], name)


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

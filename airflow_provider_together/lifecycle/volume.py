"""Make a shared volume, or take the one that is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_together.api.call import Flow, Note
from airflow_provider_together.api.models import SharedVolume
from airflow_provider_together.api.settings import DEFAULT_VISIBILITY
from airflow_provider_together.exceptions import NameTakenError, OutcomeUnknownError, SpecMismatchError
from airflow_provider_together.lifecycle.create import IfExists
from airflow_provider_together.lifecycle.looking import look_longer, require_readable

if TYPE_CHECKING:
    from airflow_provider_together.api.dialects import Dialect
    from airflow_provider_together.api.specs import SharedVolumeSpec


def ensure_shared_volume(dialect: Dialect, spec: SharedVolumeSpec, *, if_exists: IfExists) -> Flow[SharedVolume]:
    """
    Make a shared volume, unless there is one of that name already.

    :param if_exists: ``adopt`` takes it if it is large enough, ``fail`` refuses.
    :raises NameTakenError: if there is one and ``if_exists`` is ``fail``, or if there are several.
    :raises SpecMismatchError: if it is smaller than the spec asks for.
    :raises OutcomeUnknownError: if nobody can tell whether the POST was carried out.
    """
    create = dialect.create_shared_volume(spec)
    found = yield from _find_volume(dialect, spec.volume_name)
    if found is not None:
        if if_exists == "fail":
            message = (
                f"shared volume {spec.volume_name!r} exists already ({found.volume_id}): "
                "choose another name, or use it with if_exists='adopt'"
            )
            raise NameTakenError(message)
        if found.size_tib is not None and found.size_tib < spec.size_tib:
            message = (
                f"shared volume {spec.volume_name!r} ({found.volume_id}) has {found.size_tib} TiB, "
                f"not {spec.size_tib}: grow it with UpdateSharedVolumeOperator"
            )
            raise SpecMismatchError(message)
        yield Note(f"Using shared volume {spec.volume_name!r} ({found.volume_id}): it exists already.")
        return found
    try:
        return (yield from create)
    except OutcomeUnknownError:
        found = yield from look_longer(lambda: _find_volume(dialect, spec.volume_name), DEFAULT_VISIBILITY)
        if found is None:
            raise
        return found


def _find_volume(dialect: Dialect, volume_name: str) -> Flow[SharedVolume | None]:
    volumes = yield from dialect.list_shared_volumes()
    require_readable(volumes, lambda other: other == volume_name)
    found = [volume for volume in volumes if volume.volume_name == volume_name]
    if len(found) > 1:
        ids = ", ".join(volume.volume_id for volume in found)
        message = f"there are {len(found)} shared volumes named {volume_name!r} ({ids}): attach one by its volume_id"
        raise NameTakenError(message)
    return found[0] if found else None

"""
Operators that make, grow and delete shared volumes.

A volume keeps data beyond the life of a cluster, so none of these ever deletes one by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, cast

from airflow_provider_together.api.specs import SharedVolumeSpec, SharedVolumeUpdate, Spec
from airflow_provider_together.exceptions import NotFoundError, SpecError
from airflow_provider_together.operators.base import TogetherOperator
from airflow_provider_together.runtime.failures import task_failures
from airflow_provider_together.runtime.parameters import DURATION, IDENTIFIER, Kind, fields_of, one_of, seconds_of

if TYPE_CHECKING:
    from airflow.sdk import Context, XComArg

    from airflow_provider_together.lifecycle.create import IfExists


class CreateSharedVolumeOperator(TogetherOperator):
    """
    Make a shared volume, or use the one that has this name already. The volume id is the return value.

    :param volume_name: its name, also that of its PersistentVolume on Kubernetes.
    :param size_tib: size in whole TiB.
    :param region: the region of the clusters that will use it.
    :param if_exists: ``adopt`` uses an existing volume if it is large enough, ``fail`` refuses it.
    :param is_lifecycle_independent: whether it outlives a cluster that it is attached to (*compute* only).
    :param instance_cluster_id: place it on the infrastructure of this cluster (*compute* only).
    :param project_id: the project that owns it (*compute* only).
    :param together_conn_id: connection of type ``together``.
    """

    template_fields: Sequence[str] = (
        *TogetherOperator.template_fields,
        *SharedVolumeSpec.model_fields,
        "if_exists",
    )
    operator_extra_links = ()
    spec_class: ClassVar[type[Spec] | None] = SharedVolumeSpec
    parameter_kinds: ClassVar[Mapping[str, Kind]] = {
        **fields_of(SharedVolumeSpec, required=("volume_name", "size_tib", "region")),
        "if_exists": one_of("adopt", "fail"),
    }

    def __init__(  # noqa: PLR0913 - the request has that many fields
        self,
        *,
        volume_name: str,
        size_tib: int | str,
        region: str,
        if_exists: IfExists = "adopt",
        is_lifecycle_independent: bool | None = None,
        instance_cluster_id: str | None = None,
        project_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.volume_name = volume_name
        self.size_tib = size_tib
        self.region = region
        self.if_exists = if_exists
        self.is_lifecycle_independent = is_lifecycle_independent
        self.instance_cluster_id = instance_cluster_id
        self.project_id = project_id
        self.check_parameters()

    def execute(self, context: Context) -> str:  # noqa: ARG002 - Airflow's signature
        """Make or use the volume."""
        from airflow_provider_together.lifecycle.volume import ensure_shared_volume  # noqa: PLC0415 - for a task only

        with task_failures():
            self.check_rendered_parameters()
            spec = SharedVolumeSpec.parse(self.parameters())
            flow = ensure_shared_volume(self.hook.client.dialect, spec, if_exists=self.if_exists)
            return self.running.run_flow(flow).volume_id


class UpdateSharedVolumeOperator(TogetherOperator):
    """
    Grow a shared volume. The volume id is the return value.

    :param volume_id: id of the volume.
    :param size_tib: the new size in whole TiB. A volume cannot shrink.
    :param timeout: seconds (or a timedelta) that it may take until Together accepts it.
    :param together_conn_id: connection of type ``together``.
    """

    template_fields: Sequence[str] = (*TogetherOperator.template_fields, "volume_id", "size_tib", "timeout")
    operator_extra_links = ()
    spec_class: ClassVar[type[Spec] | None] = SharedVolumeUpdate
    parameter_kinds: ClassVar[Mapping[str, Kind]] = {
        "volume_id": IDENTIFIER,
        **fields_of(SharedVolumeUpdate),
        "timeout": DURATION,
    }

    def __init__(
        self,
        *,
        volume_id: str | XComArg,
        size_tib: int | str,
        timeout: float | timedelta | str = timedelta(minutes=30),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.volume_id = cast("str", volume_id)
        self.size_tib = size_tib
        self.timeout = timeout
        self.check_parameters()

    def execute(self, context: Context) -> str:  # noqa: ARG002 - Airflow's signature
        """Change the size."""
        with task_failures():
            self.check_rendered_parameters()
            size = SharedVolumeUpdate.parse(self.parameters()).size_tib
            volume = self.running.send_while_busy(
                self.hook.client.dialect.update_shared_volume(self.volume_id, size_tib=size),
                timeout=seconds_of("timeout", self.timeout),
                billed=f"Shared volume {self.volume_id} is billed as it was.",
            )
            self.log.info("Shared volume %s has %s TiB.", self.volume_id, volume.size_tib or size)
            return self.volume_id


class DeleteSharedVolumeOperator(TogetherOperator):
    """
    Delete a shared volume and all data on it. One that is gone already is a success.

    Together refuses while the volume is attached to a cluster: delete the cluster first. Until ``timeout`` it is asked
    again, since the cluster may be going.

    :param volume_id: id of the volume.
    :param timeout: seconds (or a timedelta) that it may take until Together accepts it.
    :param together_conn_id: connection of type ``together``.
    """

    template_fields: Sequence[str] = (*TogetherOperator.template_fields, "volume_id", "timeout")
    operator_extra_links = ()
    parameter_kinds: ClassVar[Mapping[str, Kind]] = {"volume_id": IDENTIFIER, "timeout": DURATION}

    def __init__(
        self, *, volume_id: str | XComArg, timeout: float | timedelta | str = timedelta(minutes=30), **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.volume_id = cast("str", volume_id)
        self.timeout = timeout
        self.check_parameters()

    def execute(self, context: Context) -> None:  # noqa: ARG002 - Airflow's signature
        """Delete the volume."""
        with task_failures():
            self.check_rendered_parameters()
            try:
                was_deleted = self.running.send_while_busy(
                    self.hook.client.dialect.delete_shared_volume(self.volume_id),
                    timeout=seconds_of("timeout", self.timeout),
                    billed=f"Shared volume {self.volume_id} is still billed.",
                )
            except NotFoundError:
                self.log.info("Shared volume %s is not there any more.", self.volume_id)
                return
            if not was_deleted:
                raise SpecError([f"volume_id={self.volume_id!r}: Together answered that it did not delete the volume"])
            self.log.info("Deleted shared volume %s.", self.volume_id)

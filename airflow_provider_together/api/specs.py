"""
What a user asks for: clusters and volumes to be made, and changes to them.

Strict, so that a mistake is named before it costs money. It knows what is true in both dialects;
what only one of them has is checked by that dialect. Nothing is checked that Together does not document.
It imports :mod:`airflow_provider_together.exceptions` and what a missing value looks like only.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from airflow_provider_together.api.missing import MISSING, is_missing
from airflow_provider_together.exceptions import SpecError

GPUType = Literal[
    "H100_SXM",
    "H200_SXM",
    "RTX_6000_PCI",
    "L40_PCIE",
    "B200_SXM",
    "H100_SXM_INF",
    "B300_SXM",
    "GB200_SXM",
]
BillingType = Literal["RESERVED", "ON_DEMAND", "SCHEDULED_CAPACITY"]
ClusterType = Literal["KUBERNETES", "SLURM"]

#: Together's GPU workers have eight GPUs each, and only whole workers are rented.
GPUS_PER_NODE = 8
#: What the numbers of a request are in Together's contracts.
_INT32, _UINT32 = 2**31 - 1, 2**32 - 1
#: Days that a cluster may be kept: ten years. More is a slip, and soon no date any more that a name could carry.
LONGEST_DAYS = 3650


def _no_flag(value: Any) -> Any:
    if isinstance(value, bool):
        message = "input should be a valid integer, not a flag"
        raise ValueError(message)  # noqa: TRY004 - pydantic takes a TypeError for a fault of ours
    return value


def _no_number(value: Any) -> Any:
    if isinstance(value, (int, float)):
        message = "input should be a date with its time and its timezone, not a number"
        raise ValueError(message)  # noqa: TRY004 - see above
    return value


def _word(value: str) -> str:
    if is_missing(value):
        raise ValueError(MISSING)
    return value


def _printable_name(value: str) -> str:
    if any(unicodedata.category(letter) == "Cc" for letter in value):
        message = "must not hold control characters"
        raise ValueError(message)
    return value


def _driver_version(value: str) -> str:
    if not re.fullmatch(r"CUDA_\d+_\d+_\d+", value, re.ASCII):
        message = "write it like 'CUDA_12_8_570', for CUDA 12.8 with NVIDIA driver 570"
        raise ValueError(message)
    return value


def _json(value: Any) -> Any:
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError):
        message = "must be made of JSON values only"
        raise ValueError(message) from None
    return value


JSONObject = Annotated[dict[str, Any], AfterValidator(_json)]
DriverVersion = Annotated[str, AfterValidator(_driver_version)]
Word = Annotated[str, Field(strict=True), AfterValidator(_word)]
Name = Annotated[Word, AfterValidator(_printable_name)]
Count = Annotated[int, BeforeValidator(_no_flag)]
GPUCount = Annotated[Count, Field(gt=0, le=_INT32, multiple_of=GPUS_PER_NODE)]
SomeGPUs = Annotated[Count, Field(ge=0, le=_INT32, multiple_of=GPUS_PER_NODE)]
Time = Annotated[AwareDatetime, BeforeValidator(_no_number)]
TiB = Annotated[Count, Field(gt=0, le=_UINT32)]


class Spec(BaseModel):
    """Base of all specs: unknown fields are errors, and errors are sentences."""

    # A spec is built when it is used first: of all of them a DAG uses one or two.
    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, protected_namespaces=(), defer_build=True
    )

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """
        Make a spec from keyword arguments, leaving out those that are None.

        :raises SpecError: with one sentence for each field that is wrong.
        """
        given = {name: value for name, value in values.items() if value is not None}
        try:
            spec = cls.model_validate(given)
        except ValidationError as error:
            raise SpecError([_sentence(detail) for detail in error.errors(include_url=False)]) from None
        if problems := cls.conflicts(given) + spec.shortcomings():
            raise SpecError(problems)
        return spec

    @classmethod
    def check(cls, values: Mapping[str, Any]) -> None:
        """
        Check what is known so far: fields that are missing are left for :meth:`parse`.

        :raises SpecError: with one sentence for each field that is wrong.
        """
        given = {name: value for name, value in values.items() if value is not None}
        problems: list[str] = []
        try:
            cls.model_validate(given)
        except ValidationError as error:
            details = error.errors(include_url=False)
            problems = [
                _sentence(detail) for detail in details if detail["type"] != "missing" or len(detail["loc"]) > 1
            ]
        problems += cls.conflicts(given)
        if problems:
            raise SpecError(problems)

    @classmethod
    def conflicts(cls, given: Mapping[str, Any]) -> list[str]:  # noqa: ARG003 - for subclasses
        """Return a sentence for each pair of given fields that exclude each other."""
        return []

    def shortcomings(self) -> list[str]:
        """Return a sentence for each thing that only a look at the whole spec can find wrong."""
        return []

    def given(self) -> dict[str, Any]:
        """Return the fields that the user gave, as JSON values."""
        return self.model_dump(mode="json", exclude_none=True)


class SharedVolumeSpec(Spec):
    """
    A shared volume to be made.

    :param volume_name: its name, which is also the name of its PersistentVolume on Kubernetes.
    :param size_tib: size in whole TiB.
    :param region: for an inline volume the cluster's region is taken when this is left out.
    :param is_lifecycle_independent: whether the volume outlives its cluster (compute only).
    :param instance_cluster_id: place it on the infrastructure of this cluster (compute only).
    :param project_id: the project that owns it (compute only).
    """

    volume_name: Name
    size_tib: TiB
    region: Word | None = None
    is_lifecycle_independent: bool | None = None
    instance_cluster_id: Word | None = None
    project_id: Word | None = None


class SharedVolumeUpdate(Spec):
    """
    A change to a shared volume.

    :param size_tib: the new size in whole TiB.
    """

    size_tib: TiB


class ClusterSpec(Spec):
    """
    A GPU cluster to be made, in the words of the older API; the dialects translate.

    The fields below ``volume_id`` exist in the *compute* dialect only.

    :param region: region name, such as ``us-central-8``.
    :param gpu_type: type of all its GPUs.
    :param num_gpus: a positive multiple of 8.
    :param cluster_name: any name that is not blank.
    :param billing_type: ``ON_DEMAND`` runs until it is deleted, ``RESERVED`` for ``duration_days``,
        ``SCHEDULED_CAPACITY`` from ``reservation_start_time`` to ``reservation_end_time``.
    :param duration_days: days to keep it, at least 1; *tcloud* wants it for every billing type.
    :param driver_version: ``CUDA_12_8_570`` is CUDA 12.8 with NVIDIA driver 570.
    :param nvidia_version_id: id in the region's catalogue, instead of ``driver_version``.
    """

    region: Word
    gpu_type: GPUType
    num_gpus: GPUCount
    cluster_name: Name
    billing_type: BillingType
    duration_days: Annotated[Count, Field(ge=1, le=LONGEST_DAYS)] | None = None
    driver_version: DriverVersion | None = None
    cluster_type: ClusterType | None = None
    shared_volume: SharedVolumeSpec | None = None
    volume_id: Word | None = None

    nvidia_version_id: Word | None = None
    project_id: Word | None = None
    reservation_start_time: Time | None = None
    reservation_end_time: Time | None = None
    num_reserved_gpus: SomeGPUs | None = None
    num_preemptible_gpus: SomeGPUs | None = None
    num_capacity_pool_gpus: SomeGPUs | None = None
    capacity_pool_id: Word | None = None
    auto_scale: bool | None = None
    auto_scale_max_gpus: GPUCount | None = None
    slurm_shm_size_gib: Annotated[Count, Field(gt=0, le=_INT32)] | None = None
    slurm_image: Word | None = None
    install_traefik: bool | None = None
    add_ons: list[JSONObject] | None = None
    cluster_config: JSONObject | None = None
    acceptance_tests_params: JSONObject | None = None
    oidc_config: JSONObject | None = None

    @classmethod
    def conflicts(cls, given: Mapping[str, Any]) -> list[str]:
        """Return a sentence for each pair of given fields that exclude each other."""
        if "shared_volume" in given and "volume_id" in given:
            return ["shared_volume and volume_id exclude each other: make a new volume or attach one, not both"]
        return []

    def shortcomings(self) -> list[str]:
        """Return a sentence for each thing that only a look at the whole spec can find wrong."""
        problems = []
        if self.driver_version is None and self.nvidia_version_id is None:
            problems.append("driver_version is missing: give one, such as 'CUDA_12_8_570'")
        if self.billing_type == "SCHEDULED_CAPACITY":
            problems += [
                f"{name} is missing: billing_type='SCHEDULED_CAPACITY' needs its start and its end"
                for name in ("reservation_start_time", "reservation_end_time")
                if getattr(self, name) is None
            ]
        start, end = self.reservation_start_time, self.reservation_end_time
        if start is not None and end is not None and end <= start:
            problems.append(f"reservation_end_time={end.isoformat()} must be after {start.isoformat()}, its start")
        return problems


class ClusterUpdate(Spec):
    """
    A change to a cluster; what is left out stays as it is.

    :param num_gpus: the new number of GPUs, a positive multiple of 8.

    The fields below ``cluster_type`` exist in the *compute* dialect only.
    """

    num_gpus: GPUCount | None = None
    cluster_type: ClusterType | None = None

    num_reserved_gpus: SomeGPUs | None = None
    num_preemptible_gpus: SomeGPUs | None = None
    num_capacity_pool_gpus: SomeGPUs | None = None
    reservation_end_time: Time | None = None
    add_ons: list[JSONObject] | None = None
    cluster_config: JSONObject | None = None


def _sentence(detail: ErrorDetails) -> str:
    field = ".".join(str(part) for part in detail["loc"]) or "the spec"
    if detail["type"] == "missing":
        return f"{field} is missing"
    if detail["type"] == "extra_forbidden":
        return f"{field} is not a field that Together knows"
    value = detail["input"]
    # Of a number, a date or a choice that rendered to nothing, too.
    reason = MISSING if is_missing(value) else detail["msg"].removeprefix("Value error, ")
    shown = repr(value) if isinstance(value, (str, int, float, bool, type(None))) else type(value).__name__
    return f"{field}={shown} is wrong: {reason[:1].lower()}{reason[1:]}"

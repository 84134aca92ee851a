"""
How an emulator is set up: one value, checked when it is made, the same for Python and for the command line.

It imports only reference data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from airflow_provider_together.emulator.catalog import DEFAULT_REGIONS, GPU_TYPES, GPUS_PER_NODE
from airflow_provider_together.emulator.errors import ERROR_FORMATS

DEFAULT_API_KEY = "emulator-key"
DEFAULT_PROJECT = "proj-emulator"

StatusWords = Literal["contract", "current"]
KubeConfigForm = Literal["base64", "yaml"]
ErrorFormat = Literal["openai", "rpc"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """
    The settings of an emulator.

    :param api_key: the bearer token that may do everything.
    :param viewer_key: a second token, that may only read; None for none.
    :param speed: simulated seconds per real second; 0 stands still and is moved by ``advance`` only.
    :param epoch: where simulated time starts, in epoch seconds; None is the present.
    :param ready_after: simulated seconds from the creation of a cluster to READY; None takes believable ones.
    :param resize_takes: simulated seconds of a resize; None takes believable ones.
    :param delete_takes: simulated seconds that a cluster stays DELETING.
    :param volume_takes: simulated seconds that a shared volume is provisioned for.
    :param regions: names of the regions.
    :param capacity: stock: ``REGION:GPU_TYPE`` to a number of GPUs; what is not named has no limit.
    :param seed: makes all ids the same in every run; None makes them random.
    :param tcloud_status_words: the words of ``GET`` and list in the older API, about which two official
        descriptions disagree: those of its contract (``READY``), or the current API's (``Ready``).
    :param tcloud_kube_config: how the older API encodes a kubeconfig, which no source tells.
    :param error_format: shape of error bodies, of which two are known.
    :param kube_config: text of the kubeconfig of every cluster, for those who have a Kubernetes API to offer;
        None makes one per cluster that leads nowhere, or to the Kubernetes side.
    :param kubernetes: give every cluster a Kubernetes API on loopback that really runs the commands of containers, as
        processes on this machine with the rights of this user; Linux only.
    :raises ValueError: naming the option and the value that is wrong.
    """

    api_key: str = DEFAULT_API_KEY
    viewer_key: str | None = None
    speed: float = 600.0
    epoch: float | None = None
    ready_after: float | None = None
    resize_takes: float | None = None
    delete_takes: float = 60.0
    volume_takes: float = 60.0
    regions: Sequence[str] = DEFAULT_REGIONS
    capacity: Mapping[str, int] = field(default_factory=dict)
    seed: int | None = None
    tcloud_status_words: StatusWords = "contract"
    tcloud_kube_config: KubeConfigForm = "base64"
    error_format: ErrorFormat = "openai"
    kube_config: str | None = None
    kubernetes: bool = False

    def __post_init__(self) -> None:
        for name in ("speed", "ready_after", "resize_takes", "delete_takes", "volume_takes"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < float("inf"):
                _refuse(name, value, "give a number of seconds that is not negative")
        _check_words("tcloud_status_words", self.tcloud_status_words, ("contract", "current"))
        _check_words("tcloud_kube_config", self.tcloud_kube_config, ("base64", "yaml"))
        _check_words("error_format", self.error_format, ERROR_FORMATS)
        if not self.api_key:
            _refuse("api_key", self.api_key, "give a key that is not empty")
        if self.kubernetes and self.kube_config is not None:
            _refuse("kube_config", "(not shown)", "leave it out, since kubernetes makes one for every cluster")
        if self.viewer_key == self.api_key:
            _refuse("viewer_key", "(not shown)", "give a key that differs from api_key")
        if not self.regions or not all(self.regions):
            _refuse("regions", list(self.regions), "name at least one region, none of them empty")
        for place, gpus in self.capacity.items():
            self._check_capacity(place, gpus)

    def _check_capacity(self, place: str, gpus: int) -> None:
        region, _, gpu_type = place.partition(":")
        if region not in self.regions or gpu_type not in GPU_TYPES:
            remedy = f"write REGION:GPU_TYPE with one of {', '.join(self.regions)} and one of {', '.join(GPU_TYPES)}"
            _refuse("capacity", place, remedy)
        if gpus < 0 or gpus % GPUS_PER_NODE:
            _refuse("capacity", f"{place}={gpus}", f"give a multiple of {GPUS_PER_NODE} GPUs")


def _check_words(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        _refuse(name, value, f"use one of {', '.join(allowed)}")


def _refuse(name: str, value: object, remedy: str) -> None:
    message = f"{name}={value!r} is wrong: {remedy}"
    raise ValueError(message)

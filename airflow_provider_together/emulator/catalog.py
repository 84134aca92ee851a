"""
What Together has to rent out: regions, GPU types, NVIDIA software, and how many GPUs there are.

Reference data and the look-ups in it; who holds which GPUs is ``state.py``'s business. It imports only the
refusals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from airflow_provider_together.emulator.errors import InvalidRequestError

GPUS_PER_NODE = 8
GPU_TYPES = (
    "H100_SXM",
    "H200_SXM",
    "H100_SXM_INF",
    "B200_SXM",
    "B300_SXM",
    "GB200_SXM",
    "L40_PCIE",
    "RTX_6000_PCI",
)
DEFAULT_REGIONS = ("us-central-8", "us-central-4")

#: Operating system, CUDA, NVIDIA driver. The first four are those that the older API has words for.
_SOFTWARE = (
    ("ubuntu-22.04", "12.5", "555"),
    ("ubuntu-22.04", "12.6", "560"),
    ("ubuntu-22.04", "12.6", "565"),
    ("ubuntu-22.04", "12.8", "570"),
    ("ubuntu-24.04", "12.9", "575"),
    ("ubuntu-24.04", "13.0", "580"),
)


@dataclass(frozen=True, kw_only=True)
class Software:
    """One entry of a region's NVIDIA catalogue."""

    id: str
    os: str
    cuda_version: str
    driver_version: str


@dataclass(frozen=True, kw_only=True)
class Region:
    """A region and what it offers."""

    name: str
    gpu_types: tuple[str, ...]
    software: tuple[Software, ...]

    def find_software(self, *, id: str | None, cuda: str | None, driver: str | None) -> Software:  # noqa: A002
        """
        Find the catalogue entry that a request means; the ways of naming it must agree.

        :raises InvalidRequestError: if there is none.
        """
        wanted = {"nvidia_version_id": id, "cuda_version": cuda, "nvidia_driver_version": driver}
        for entry in self.software:
            has = (entry.id, entry.cuda_version, entry.driver_version)
            if all(word in (None, offer) for word, offer in zip(wanted.values(), has, strict=True)):
                return entry
        asked = ", ".join(f"{name}={word!r}" for name, word in wanted.items() if word is not None)
        pairs = ", ".join(f"{entry.cuda_version}/{entry.driver_version}" for entry in self.software)
        message = f"{asked} is not in the catalogue of region {self.name!r}; CUDA and driver offered there: {pairs}"
        raise InvalidRequestError(message, param="nvidia_version_id" if id is not None else "nvidia_driver_version")


class Catalog:
    """
    The regions, and the stock of those pairs of region and GPU type that are limited.

    :param regions: their names.
    :param capacity: ``REGION:GPU_TYPE`` to a number of GPUs; what is not named is not limited.
    """

    def __init__(self, *, regions: Sequence[str], capacity: Mapping[str, int]) -> None:
        self.regions = {name: _make_region(name) for name in regions}
        self._capacity = dict(capacity)

    def region(self, name: str, *, param: str = "region") -> Region:
        """
        Return a region by its name.

        :raises InvalidRequestError: if there is none.
        """
        try:
            return self.regions[name]
        except KeyError:
            message = f"{param}={name!r} is unknown; regions: {', '.join(self.regions)}"
            raise InvalidRequestError(message, param=param) from None

    def capacity(self, region: str, gpu_type: str) -> int | None:
        """Return the number of GPUs of a type in a region; None means no limit."""
        return self._capacity.get(f"{region}:{gpu_type}")


def _make_region(name: str) -> Region:
    software = tuple(
        Software(id=f"{name}-{os}-cuda-{cuda}-driver-{driver}", os=os, cuda_version=cuda, driver_version=driver)
        for os, cuda, driver in _SOFTWARE
    )
    return Region(name=name, gpu_types=GPU_TYPES, software=software)

"""
Status words: those of the older API, those of the current one, and those of volumes.

Separate, because an option lets the older API speak the current words, and the emulator's owner is told the older
ones whatever a client sees. It imports the phases and the world.
"""

from __future__ import annotations

from typing import Any

from airflow_provider_together.emulator.errors import InvalidRequestError
from airflow_provider_together.emulator.lifecycle import Phase
from airflow_provider_together.emulator.model import Volume
from airflow_provider_together.emulator.state import World

_CURRENT = {
    # The contract has no word for these two, though other texts of Together know `Scheduled`.
    Phase.QUEUED: "WaitingForControlPlaneNodes",
    Phase.SCHEDULED: "WaitingForControlPlaneNodes",
    Phase.CONTROL_PLANE: "WaitingForControlPlaneNodes",
    Phase.SUBNET: "WaitingForSubnet",
    Phase.DATA_PLANE: "WaitingForDataPlaneNodes",
    Phase.SHARED_VOLUME: "WaitingForSharedVolume",
    Phase.DRIVERS: "InstallingDrivers",
    Phase.ACCEPTANCE_TESTS: "RunningAcceptanceTests",
    Phase.NCCL_TESTS: "RunningAcceptanceTests",
    # Nor one for a failure: that shows in the transitions only.
    Phase.ACCEPTANCE_TESTS_FAILED: "RunningAcceptanceTests",
    Phase.NCCL_TESTS_FAILED: "RunningAcceptanceTests",
    Phase.READY: "Ready",
    Phase.DEGRADED: "Degraded",
    Phase.PAUSED: "Paused",
    Phase.ON_DEMAND_COMPUTE_PAUSED: "OnDemandComputePaused",
    Phase.DELETING: "Deleting",
    Phase.GONE: "Deleting",
}

_OLDER = {
    Phase.QUEUED: "PENDING",
    Phase.SCHEDULED: "QUEUED",
    Phase.CONTROL_PLANE: "WAITING_CONTROL_PLANE",
    Phase.SUBNET: "WAITING_CONTROL_PLANE",
    Phase.DATA_PLANE: "WAITING_DATA_PLANE",
    Phase.SHARED_VOLUME: "WAITING_DATA_PLANE",
    Phase.DRIVERS: "WAITING_DATA_PLANE",
    Phase.ACCEPTANCE_TESTS: "WAITING_DATA_PLANE",
    Phase.NCCL_TESTS: "WAITING_DATA_PLANE",
    Phase.READY: "READY",
    Phase.ACCEPTANCE_TESTS_FAILED: "FAILED",
    Phase.NCCL_TESTS_FAILED: "FAILED",
}

_PHASES = {
    "PENDING": Phase.QUEUED,
    "QUEUED": Phase.SCHEDULED,
    "WAITING_CONTROL_PLANE": Phase.CONTROL_PLANE,
    "WAITING_DATA_PLANE": Phase.DATA_PLANE,
    "READY": Phase.READY,
    "DEGRADED": Phase.DEGRADED,
    "PAUSED": Phase.PAUSED,
    "FAILED": Phase.ACCEPTANCE_TESTS_FAILED,
    "DELETING": Phase.DELETING,
    "WaitingForControlPlaneNodes": Phase.CONTROL_PLANE,
    "WaitingForSubnet": Phase.SUBNET,
    "WaitingForDataPlaneNodes": Phase.DATA_PLANE,
    "WaitingForSharedVolume": Phase.SHARED_VOLUME,
    "InstallingDrivers": Phase.DRIVERS,
    "RunningAcceptanceTests": Phase.ACCEPTANCE_TESTS,
    "Ready": Phase.READY,
    "Degraded": Phase.DEGRADED,
    "Paused": Phase.PAUSED,
    "OnDemandComputePaused": Phase.ON_DEMAND_COMPUTE_PAUSED,
    "Deleting": Phase.DELETING,
}


def current_status(phase: Phase) -> str:
    """Spell a phase as the status of the current API."""
    return _CURRENT[phase]


def older_status(phase: Phase) -> str | None:
    """Spell a phase in the words of the older API's contract; None if it has none for it."""
    return _OLDER.get(phase)


def phase_of(status: str) -> Phase | None:
    """Read a status word of either dialect; None if neither knows it."""
    return _PHASES.get(status)


def volume_status(world: World, volume: Volume) -> str:
    """Spell the state of a volume."""
    now = world.clock.now()
    if world.is_volume_gone(volume):
        return "deleting"
    if now < volume.available_at:
        return "provisioning"
    return "available" if world.holder(volume) is None else "bound"


def refuse_two_volumes(body: dict[str, Any]) -> None:
    """
    Refuse a cluster that is to get a new volume and an existing one.

    :raises InvalidRequestError: if so.
    """
    if body.get("shared_volume") is not None and body.get("volume_id") is not None:
        message = "shared_volume and volume_id exclude each other: give one of them"
        raise InvalidRequestError(message, param="volume_id")

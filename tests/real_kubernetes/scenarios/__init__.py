"""
What is asked of the real server and of the emulator, to be answered alike.

Looked at are fields that clients read and that Kubernetes has answered in the same way from 1.20 on.
"""

from __future__ import annotations

from tests.real_kubernetes.scenarios import (
    access,
    creation,
    deletion,
    finding,
    kinds,
    running,
    silence,
    watching,
)
from tests.real_kubernetes.scenarios.table import SCENARIOS, Scenario

__all__ = [
    "SCENARIOS",
    "Scenario",
    "access",
    "creation",
    "deletion",
    "finding",
    "kinds",
    "running",
    "silence",
    "watching",
]

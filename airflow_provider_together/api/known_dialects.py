"""The names of the two APIs, for the form of the connection and others who must not import what speaks them."""

from __future__ import annotations

from typing import Final

DIALECT_NAMES: Final = ("tcloud", "compute")
DEFAULT_DIALECT: Final = "tcloud"

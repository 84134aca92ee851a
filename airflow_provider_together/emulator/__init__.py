"""
An emulator of Together's GPU-cluster API, for tests and trials that cost nothing.

It is the other half of the API and imports nothing of this package but itself, so that one misunderstanding
cannot hide on both sides; nor does it need Airflow. :class:`Emulator` is for Python, ``python -m
airflow_provider_together.emulator`` for the shell, ``airflow_provider_together.emulator.pytest_plugin`` for pytest;
``control.py`` tells what other processes can ask for.
"""

from __future__ import annotations

from airflow_provider_together.emulator.faults import Fault
from airflow_provider_together.emulator.options import Options
from airflow_provider_together.emulator.server import Emulator
from airflow_provider_together.emulator.simulation import Ledger, RequestRecord
from airflow_provider_together.emulator.view import ClusterView, VolumeView

__all__ = ["ClusterView", "Emulator", "Fault", "Ledger", "Options", "RequestRecord", "VolumeView"]

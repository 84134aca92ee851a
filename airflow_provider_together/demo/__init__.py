"""
The throw-away Airflow, and the demo that people watch on it.

Nothing here is needed by a DAG. It runs Airflow and the emulator as processes, and imports neither where it
can avoid it.
"""

from __future__ import annotations

from airflow_provider_together.demo.run import run_demo

__all__ = ["run_demo"]

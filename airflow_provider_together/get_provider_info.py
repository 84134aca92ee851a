"""
What Airflow reads about this provider at every start, hence light.

Found through the entry point ``apache_airflow_provider``; its form is Airflow's ``provider_info.schema.json``.
"""

from __future__ import annotations

from typing import Any

from airflow_provider_together.runtime.connection_form import (
    CONNECTION_TYPE,
    FIELDS,
    HOOK_NAME,
    UI_FIELD_BEHAVIOUR,
)

_PACKAGE = "airflow_provider_together"
_INTEGRATION = "Together AI"


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata."""
    return {
        "package-name": "airflow-provider-together",
        "name": "Together AI",
        "description": "Ephemeral GPU clusters of `Together AI <https://www.together.ai/>`__ in DAGs.",
        "integrations": [
            {
                "integration-name": _INTEGRATION,
                "external-doc-url": "https://docs.together.ai/docs/gpu-clusters-overview",
                "tags": ["service"],
            }
        ],
        "hooks": [_modules("hooks.together")],
        "operators": [
            _modules(
                "operators.gpu_cluster",
                "operators.kubernetes",
                "operators.shared_volume",
                "operators.slurm",
                "operators.sweep",
            )
        ],
        "sensors": [_modules("sensors.gpu_cluster")],
        "triggers": [_modules("triggers.gpu_cluster", "triggers.kubernetes", "triggers.slurm")],
        "connection-types": [
            {
                "connection-type": CONNECTION_TYPE,
                "hook-class-name": f"{_PACKAGE}.hooks.together.TogetherHook",
                "hook-name": HOOK_NAME,
                "ui-field-behaviour": UI_FIELD_BEHAVIOUR,
                "conn-fields": FIELDS,
            }
        ],
        "extra-links": [f"{_PACKAGE}.links.gpu_cluster.GPUClusterLink"],
    }


def _modules(*names: str) -> dict[str, Any]:
    return {"integration-name": _INTEGRATION, "python-modules": [f"{_PACKAGE}.{name}" for name in names]}

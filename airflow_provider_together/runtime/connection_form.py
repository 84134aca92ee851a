"""
The form of a ``together`` connection, described once for all Airflow versions.

Airflow 3.2 and later read the description from the provider's metadata, 3.1 asks the hook. It imports
nothing, since every start of Airflow reads the metadata.
"""

from __future__ import annotations

from typing import Any

from airflow_provider_together.api.known_dialects import DIALECT_NAMES

CONNECTION_TYPE = "together"
HOOK_NAME = "Together AI"
DEFAULT_CONNECTION = "together_default"

#: Name, label, help and JSON schema of each field beyond Airflow's own. The names are keys of the extra.
FIELDS: dict[str, dict[str, Any]] = {
    "api": {
        "label": "API",
        "description": "Which of Together's APIs to speak: tcloud (/api/v1/gpu_cluster) or compute "
        "(/v1/compute/clusters). Empty: the one that the host is known for, else tcloud.",
        "schema": {"type": ["string", "null"], "enum": list(DIALECT_NAMES)},
    },
    "project_id": {
        "label": "Project ID",
        "description": "Together project to work in (compute only). Empty: the API key's project.",
        "schema": {"type": ["string", "null"]},
    },
    "timeout": {
        "label": "Request timeout (seconds)",
        "description": "How long one request may take to connect, and to be answered. Empty: 30.",
        "schema": {"type": ["number", "null"], "exclusiveMinimum": 0},
    },
    "retries": {
        "label": "Retries",
        "description": "How often a request that may safely be repeated is repeated. Empty: 4.",
        "schema": {"type": ["integer", "null"], "minimum": 0, "maximum": 20},
    },
    "verify": {
        "label": "CA certificates",
        "description": "Path of a file or folder of CA certificates to trust, in the place of the system's. "
        "Empty: the system's.",
        "schema": {"type": ["string", "null"]},
    },
    "deployment": {
        "label": "Deployment",
        "description": "Tells this Airflow from others that share the Together project, in cluster names: "
        "1 to 12 characters of a-z and 0-9. Empty: made up at first use and kept in the Airflow variable "
        "together_deployment.",
        "schema": {"type": ["string", "null"], "maxLength": 12},
    },
    "visibility": {
        "label": "Visibility (seconds)",
        "description": "How long a new cluster may take to show in Together's list; after an unknown outcome it is "
        "looked for so long. Empty: 60.",
        "schema": {"type": ["number", "null"], "minimum": 0.1, "maximum": 3600},
    },
}

UI_FIELD_BEHAVIOUR: dict[str, Any] = {
    "hidden-fields": ["schema", "login", "extra"],
    "relabeling": {"password": "API key", "host": "Base URL"},
    "placeholders": {
        "host": "empty for Together's own host",
        "password": "of a project admin; empty: environment variable TOGETHER_API_KEY",
        # Its button sends an empty port as 0, and Airflow then refuses to test with the stored key.
        "port": "443 (Airflow 3.3 tests no connection without a port)",
    },
}

"""
The environment variables of a throw-away Airflow, as a value.

Separate, so that what runs does not depend on whose shell started it: the variables are chosen one by one,
and nothing of the user's own Airflow gets in. It starts nothing and imports nothing of the package.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from pathlib import Path

LOOPBACK = "127.0.0.1"
LOCAL_EXECUTOR = "airflow_provider_together.demo.executor.CountingLocalExecutor"

#: What a process needs from the machine. Everything else, above all AIRFLOW_*, stays outside.
_KEPT = frozenset(
    {
        "HOME",
        "LANG",
        "LANGUAGE",
        "LD_LIBRARY_PATH",
        "LOGNAME",
        "PATH",
        "PYTHONPATH",
        "REQUESTS_CA_BUNDLE",
        "SSL_CERT_DIR",
        "SSL_CERT_FILE",
        "TMPDIR",
        "TZ",
        "USER",
        "VIRTUAL_ENV",
    }
)
_PROXIES = frozenset({"all_proxy", "ftp_proxy", "http_proxy", "https_proxy"})
_SITE_PACKAGES = frozenset({"dist-packages", "site-packages"})


def clean_environment(source: Mapping[str, str]) -> dict[str, str]:
    """
    Return the part of an environment that says something about the machine.

    :param source: mostly ``os.environ``. Proxies are kept, but none of them is asked for this machine.
    """
    kept = {
        name: value
        for name, value in source.items()
        if name in _KEPT or name.startswith("LC_") or name.lower() in _PROXIES
    }
    given = source.get("NO_PROXY") or source.get("no_proxy") or ""
    without_proxy = ",".join([*filter(None, given.split(",")), LOOPBACK, "localhost"])
    root = Path(__file__).resolve().parents[2]
    if root.name not in _SITE_PACKAGES:
        # Run from a checkout, which the processes would not find by themselves.
        kept["PYTHONPATH"] = ":".join(filter(None, [str(root), kept.get("PYTHONPATH", "")]))
    return {
        **kept,
        "NO_PROXY": without_proxy,
        "no_proxy": without_proxy,
        "PYTHONUNBUFFERED": "1",
        # Forked Airflow processes crash in the frameworks of macOS without it.
        "OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES",
    }


def airflow_settings(
    home: Path, *, port: int, sql_alchemy_conn: str, executor: str, parallelism: int
) -> dict[str, str]:
    """
    Return Airflow's own variables: all on loopback, everybody is an admin, changes are seen in seconds.

    :param home: the throw-away ``AIRFLOW_HOME``; its DAGs are in ``dags``, its logs in ``logs``.
    :param port: of the api-server.
    :param sql_alchemy_conn: URL of the metadata database.
    :param executor: as in ``[core] executor``.
    :param parallelism: how many tasks run at a time.
    """
    address = f"http://{LOOPBACK}:{port}"
    sections: dict[str, dict[str, object]] = {
        "api": {"base_url": address, "host": LOOPBACK, "port": port, "secret_key": _secret(), "workers": 1},
        "api_auth": {"jwt_secret": _secret()},
        "core": {
            "auth_manager": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
            "dags_folder": home / "dags",
            "execution_api_server_url": f"{address}/execution/",
            "executor": executor,
            "fernet_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "load_examples": False,
            "parallelism": parallelism,
            "simple_auth_manager_all_admins": True,
            "test_connection": "Enabled",
            "unit_test_mode": False,
        },
        "dag_processor": {
            "bundle_refresh_check_interval": 1,
            "min_file_process_interval": 15,
            "parsing_processes": 1,
            "refresh_interval": 2,
        },
        "database": {"load_default_connections": False, "sql_alchemy_conn": sql_alchemy_conn},
        "logging": {"base_log_folder": home / "logs", "colored_console_log": False},
        "scheduler": {"scheduler_heartbeat_sec": 1, "scheduler_idle_sleep_time": 0.5},
        "triggerer": {"job_heartbeat_sec": 1},
        "usage_data_collection": {"enabled": False},
    }
    variables = {
        f"AIRFLOW__{section.upper()}__{key.upper()}": str(value)
        for section, values in sections.items()
        for key, value in values.items()
    }
    return {**variables, "AIRFLOW_HOME": str(home), "SCARF_ANALYTICS": "false", "DO_NOT_TRACK": "1"}


def connection_variable(conn_id: str) -> str:
    """Return the name of the variable that defines a connection."""
    return f"AIRFLOW_CONN_{conn_id.upper()}"


def _secret() -> str:
    return secrets.token_urlsafe(48)

"""Nothing of a kubeconfig is at rest: not in the database, not in a log, not in a file."""

from __future__ import annotations

import base64
import gc
import os
import sqlite3
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_provider_together.api import models
from airflow_provider_together.emulator.kubernetes.handle import KubernetesHandle
from airflow_provider_together.hooks.kubernetes import GPUClusterKubernetesHook
from airflow_provider_together.operators.kubernetes import GPUClusterJobOperator, GPUClusterPodOperator
from airflow_provider_together.runtime.secret_file import secret_file, with_files
from tests.conftest import HOME
from tests.provider.kubernetes.support import python, run_task


def certificate_and_key() -> tuple[bytes, bytes]:
    """Return a client's certificate and its key, as a kubeconfig may hold them."""
    import trustme

    issued = trustme.CA().issue_cert("admin.example")
    return issued.cert_chain_pems[0].bytes(), issued.private_key_pem.bytes()


@pytest.fixture
def canaries(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Let every kubeconfig hold a client's certificate and key beside its token, and return what must not be seen."""
    certificate, key = certificate_and_key()
    decode = models.decode_kubeconfig
    seen: dict[str, str] = {}

    def with_client(raw: str) -> str:
        document = yaml.safe_load(decode(raw))
        user = document["users"][0]["user"]
        user["client-certificate-data"] = base64.b64encode(certificate).decode()
        user["client-key-data"] = base64.b64encode(key).decode()
        seen["token"] = user["token"]
        seen["server's certificate"] = document["clusters"][0]["cluster"]["certificate-authority-data"]
        return yaml.safe_dump(document)

    for name, content in (("certificate", certificate), ("key", key)):
        seen[name] = content.decode().splitlines()[1]
        seen[f"{name} as base64"] = base64.b64encode(content).decode()
    monkeypatch.setattr(models, "decode_kubeconfig", with_client)
    return seen


@pytest.fixture
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kubernetes: KubernetesHandle) -> Path:
    """The folder of this process' temporary files; the emulator has made its own before."""
    del kubernetes
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def database_dump() -> str:
    """Return all that Airflow's database holds."""
    (file,) = HOME.glob("*.db")
    with sqlite3.connect(file) as connection:
        return "\n".join(connection.iterdump())


def files_in(folder: Path) -> str:
    return "\n".join(path.read_bytes().decode("utf-8", "replace") for path in folder.rglob("*") if path.is_file())


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("exit_code", [0, 1])
@pytest.mark.parametrize("operator_class", [GPUClusterPodOperator, GPUClusterJobOperator])
def test_a_task_leaves_no_trace_of_the_kubeconfig(
    operator_class: Any,
    exit_code: int,
    deferrable: bool,
    cluster_id: str,
    canaries: dict[str, str],
    temporary_folder: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    command = "cmds" if operator_class is GPUClusterPodOperator else "command"
    parameters = {command: python(f"raise SystemExit({exit_code})"), "poll_interval": 0.2, "deferrable": deferrable}
    run = run_task(operator_class, cluster_id=cluster_id, image="any", **parameters)
    assert run.state == ("failed" if exit_code else "success")
    places = {
        "database": database_dump(),
        "output": "".join(capfd.readouterr()),
        "log": caplog.text,
        "temporary files": files_in(temporary_folder),
        "files of Airflow": files_in(HOME),
    }
    assert cluster_id in places["database"]  # what is looked for could be found there
    assert "token" in canaries
    found = [(place, name) for place, text in places.items() for name, canary in canaries.items() if canary in text]
    assert found == []


def test_the_client_has_its_keys_in_memory(cluster_id: str, canaries: dict[str, str], temporary_folder: Path) -> None:
    hook = GPUClusterKubernetesHook(cluster_id)
    configuration = hook.api_client.configuration
    assert canaries["key"] in Path(configuration.key_file).read_text()
    assert canaries["certificate"] in Path(configuration.cert_file).read_text()
    assert list(temporary_folder.iterdir()) == []
    assert hook.core_v1_client.list_namespaced_pod("default").items == []


def test_files_go_with_their_owner() -> None:
    class Owner:
        """May be referred to weakly."""

    owner = Owner()
    name = secret_file(b"secret", owner=owner)
    assert Path(name).read_bytes() == b"secret"
    del owner
    gc.collect()
    assert not Path(name).exists()


def test_where_there_is_no_memory_for_files_they_are_this_users_and_removed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delattr(os, "memfd_create")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    owner: Callable[[], None] = lambda: None  # noqa: E731 - something that may be referred to weakly
    file = Path(secret_file(b"secret", owner=owner))
    assert file.parent == tmp_path
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_bytes() == b"secret"
    del owner
    gc.collect()
    assert not file.exists()


@pytest.mark.parametrize(
    "kubeconfig",
    [
        {"users": "none", "clusters": None},
        {"users": [{"name": "a"}, "b", {"user": "c"}]},
        {"users": [{"name": "a", "user": {"token": "t", "client-key-data": ""}}]},
        {"clusters": [{"name": "a", "cluster": {"certificate-authority-data": "abcde"}}]},
    ],
)
def test_a_kubeconfig_that_holds_none_is_left_as_it_is(kubeconfig: dict[str, Any]) -> None:
    assert with_files(kubeconfig, owner=test_files_go_with_their_owner) == kubeconfig

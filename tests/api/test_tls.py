"""Whose certificates a client trusts, shown by handshakes with a server of the tests' own."""

from __future__ import annotations

import os
import shutil
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from airflow_provider_together.api import tls as tls_module
from airflow_provider_together.api.settings import UNVERIFIED
from airflow_provider_together.api.tls import tls_context
from airflow_provider_together.exceptions import ConfigurationError, NotSentError
from tests.support.driving import Driving
from tests.support.engine import call_with, settings_with
from tests.support.loopback import Server, answer_ready, serving

VARIABLES = ["SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def bundle(authority: trustme.CA, tmp_path: Path) -> Path:
    """A file that holds the authority's certificate, alone in a folder."""
    path = tmp_path / "authorities" / "ca.pem"
    path.parent.mkdir()
    authority.cert_pem.write_to_path(path)
    return path


@pytest.fixture(scope="module")
def secure(authority: trustme.CA) -> Iterator[Server]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with serving(answer_ready, tls=context) as server:
        yield server


def reach(server: Server, verify: str = "") -> str:
    settings = settings_with(base_url=f"https://127.0.0.1:{server.port}", verify=verify, retries=0)
    status: str = Driving("sync").send(call_with(), settings).status
    return status


def test_a_file_is_trusted(secure: Server, bundle: Path) -> None:
    assert reach(secure, str(bundle)) == "Ready"


def test_a_folder_is_trusted_whatever_its_files_are_called(secure: Server, bundle: Path) -> None:
    (bundle.parent / "README").write_text("Not a certificate.")
    (bundle.parent / "dangling.pem").symlink_to("/nowhere")
    (bundle.parent / "folder").mkdir()
    assert reach(secure, str(bundle.parent)) == "Ready"


def test_a_path_may_begin_with_the_home(secure: Server, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(bundle.parent))
    tls_module._context.cache_clear()  # noqa: SLF001 - ~ was another folder before
    assert reach(secure, "~/ca.pem") == "Ready"


@pytest.mark.parametrize("name", VARIABLES)
def test_variables_that_other_programs_read_are_read_as_well(
    name: str, secure: Server, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotSentError, match="CERTIFICATE_VERIFY_FAILED"):
        reach(secure)
    monkeypatch.setenv(name, str(bundle.parent if name == "SSL_CERT_DIR" else bundle))
    assert reach(secure) == "Ready"


def test_a_list_of_folders_may_name_some_that_are_not_there(
    secure: Server, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_DIR", os.pathsep.join(["/nowhere", str(bundle.parent)]))
    assert reach(secure) == "Ready"


def test_the_field_counts_more_than_the_variables(
    secure: Server, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    with pytest.raises(NotSentError, match="CERTIFICATE_VERIFY_FAILED"):
        reach(secure, str(other))


def test_a_field_leaves_out_the_authorities_of_the_system(bundle: Path) -> None:
    assert len(tls_context(settings_with(verify=str(bundle))).get_ca_certs()) == 1


@pytest.mark.parametrize("kind", ["missing", "text", "key", "der", "empty folder", "folder without any", "~"])
@pytest.mark.parametrize("name", ["verify", *VARIABLES])
def test_what_holds_no_certificates_is_named(
    name: str, kind: str, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ca.pem"
    if kind == "text":
        path.write_text("no PEM")
    elif kind == "key":
        authority.private_key_pem.write_to_path(path)
    elif kind == "der":
        path.write_bytes(ssl.PEM_cert_to_DER_cert(authority.cert_pem.bytes().decode()))
    elif "folder" in kind:
        path.mkdir()
        if kind == "folder without any":
            shutil.copy(__file__, path)
    value = "~nobody-of-that-name/ca.pem" if kind == "~" else str(path)
    if name != "verify":
        monkeypatch.setenv(name, value)
    settings = settings_with(verify=value if name == "verify" else "", label="connection 'gpu'")
    with pytest.raises(ConfigurationError) as caught:
        Driving("sync").send(call_with(), settings)
    what = name if name == "verify" else f"environment variable {name}"
    assert str(caught.value).startswith(f"connection 'gpu': {what}={value!r} is wrong: ")
    assert "PEM" in str(caught.value)


def test_a_variable_that_is_wrong_does_not_matter_without_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
    with serving(answer_ready) as server:
        assert Driving("sync").send(call_with(), settings_with(base_url=server.url)).status == "Ready"


def test_a_certificate_is_left_unchecked_on_this_machine_only(secure: Server, driving: Driving) -> None:
    assert reach(secure, UNVERIFIED) == "Ready"
    with pytest.raises(ConfigurationError, match=r"verify=false is refused: .* give the path"):
        driving.send(call_with(), settings_with(verify=UNVERIFIED))


@pytest.mark.parametrize("has_system_store", [True, False])
def test_without_a_bundle_some_authorities_are_known(monkeypatch: pytest.MonkeyPatch, has_system_store: bool) -> None:
    nowhere = ssl.get_default_verify_paths()._replace(cafile="", capath="")
    somewhere = nowhere._replace(cafile="/etc/ca.pem")
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: somewhere if has_system_store else nowhere)
    context = tls_module._context.__wrapped__("")  # noqa: SLF001 - past its cache
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)

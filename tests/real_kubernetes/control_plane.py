"""
A Kubernetes control plane on loopback, for as long as a ``with`` block lasts.

Separate from what runs containers, which it does not need. Etcd, API server and controller manager run as in any
cluster: with TLS, tokens and certificates of their own, and ports that nobody else uses. Nothing of it is left.
"""

from __future__ import annotations

import base64
import os
import secrets
import socket
import ssl
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import trustme
import yaml

from airflow_provider_together.demo.environment import LOOPBACK, clean_environment
from airflow_provider_together.demo.process import LoggedProcess, stop_all
from airflow_provider_together.emulator.kubernetes.supervision import MARK_VARIABLE, Supervisor
from tests.real_kubernetes.build import Binaries

_START_SECONDS = 90.0
_STOP_SECONDS = 3.0
_LOOK_INTERVAL = 0.1
_REQUEST_SECONDS = 5.0

#: Those that act on what the operators make; the others need a cloud, a network or a kubelet of Kubernetes' own.
_CONTROLLERS = (
    "job",
    "garbagecollector",
    "namespace",
    "endpoint",
    "persistentvolume-binder",
    "pvc-protection",
    "pv-protection",
    "ttl-after-finished",
)
#: Off by default in 1.20, and a part of every Kubernetes since.
_FEATURES = "TTLAfterFinished=true"


class ControlPlaneError(Exception):
    """A server does not start; the text has the end of what it wrote."""


class ControlPlane:
    """
    Etcd, kube-apiserver and kube-controller-manager.

    :param binaries: the programs.
    """

    def __init__(self, binaries: Binaries) -> None:
        self._binaries = binaries
        self._folder = Path(tempfile.mkdtemp(prefix="together-kubernetes-"))
        self._credentials = Credentials(self._folder)
        self._processes: dict[str, LoggedProcess] = {}
        self._mark = secrets.token_hex(8)
        self._supervisor = Supervisor(self._mark, self._folder)
        self._port, self._etcd_port, self._etcd_peer_port, self._controllers_port = free_ports(4)
        #: What users of the cluster show; what its own components show stays the same.
        self.token = secrets.token_urlsafe(24)
        self.component_token = secrets.token_urlsafe(24)

    @property
    def url(self) -> str:
        """Where the API server listens."""
        return f"https://{LOOPBACK}:{self._port}"

    @property
    def credentials(self) -> Credentials:
        """The certificate authority that all trust, and the certificate that all show."""
        return self._credentials

    def process_ids(self) -> list[int]:
        """Return the ids of its servers."""
        return [process.pid for process in self._processes.values()]

    def kubeconfig(self, token: str | None = None) -> str:
        """Return the text of a kubeconfig of an admin: of the users' one, unless another token is given."""
        cluster = {"server": self.url, "certificate-authority-data": base64.b64encode(self._credentials.ca).decode()}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "real", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": token or self.token}}],
            "contexts": [{"name": "real", "context": {"cluster": "real", "user": "admin"}}],
            "current-context": "real",
        }
        text: str = yaml.safe_dump(document)
        return text

    def client(self) -> httpx.Client:
        """Return a client with the components' token."""
        return httpx.Client(
            base_url=self.url,
            verify=self._credentials.trust(),
            headers={"Authorization": f"Bearer {self.component_token}"},
            timeout=_REQUEST_SECONDS,
        )

    def rotate_token(self, publish: Callable[[], None]) -> None:
        """
        Let the users' token be another one from now on. The server restarts for it: it reads tokens once.

        :param publish: is called once the token is made, and before it is the only one.
        """
        self.token = secrets.token_urlsafe(24)
        publish()
        stop_all([self._processes.pop("apiserver")], grace=_STOP_SECONDS)
        self._start_apiserver()

    def __enter__(self) -> Self:
        try:
            self._start_etcd()
            self._start_apiserver()
            self._start_controllers()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        # Nothing is to be saved.
        stop_all(self._processes.values(), grace=0.0)
        # It removes the folder; and the servers as well, if this process dies before.
        self._supervisor.close()

    def _start_etcd(self) -> None:
        client, peer = f"https://{LOOPBACK}:{self._etcd_port}", f"http://{LOOPBACK}:{self._etcd_peer_port}"
        options = {
            "--data-dir": self._folder / "etcd",
            "--listen-client-urls": client,
            "--advertise-client-urls": client,
            "--listen-peer-urls": peer,
            "--initial-advertise-peer-urls": peer,
            "--initial-cluster": f"default={peer}",
            "--trusted-ca-file": self._credentials.ca_file,
            "--cert-file": self._credentials.certificate_file,
            "--key-file": self._credentials.key_file,
            "--client-cert-auth": "true",
        }
        self._start("etcd", self._binaries.etcd, options)

    def _start_apiserver(self) -> None:
        tokens = self._folder / "tokens.csv"
        lines = [f'{self.token},admin,1,"system:masters"', f'{self.component_token},component,2,"system:masters"']
        tokens.write_text("\n".join(lines))
        trusted, certificate, key = (
            self._credentials.ca_file,
            self._credentials.certificate_file,
            self._credentials.key_file,
        )
        options = {
            "--etcd-servers": f"https://{LOOPBACK}:{self._etcd_port}",
            "--etcd-cafile": trusted,
            "--etcd-certfile": certificate,
            "--etcd-keyfile": key,
            "--bind-address": LOOPBACK,
            "--advertise-address": LOOPBACK,
            "--secure-port": self._port,
            "--tls-cert-file": certificate,
            "--tls-private-key-file": key,
            "--token-auth-file": tokens,
            "--anonymous-auth": "false",
            "--authorization-mode": "RBAC",
            # Its controllers would need tokens that no container here asks for.
            "--disable-admission-plugins": "ServiceAccount",
            "--service-account-issuer": "https://kubernetes.invalid",
            "--service-account-key-file": key,
            "--service-account-signing-key-file": key,
            "--service-cluster-ip-range": "10.96.0.0/24",
            "--endpoint-reconciler-type": "none",
            "--kubelet-certificate-authority": trusted,
            "--kubelet-client-certificate": certificate,
            "--kubelet-client-key": key,
            "--kubelet-preferred-address-types": "InternalIP",
            "--feature-gates": _FEATURES,
            "--cert-dir": self._folder / "certificates",
        }
        self._start("apiserver", self._binaries.apiserver, options)
        self._await("apiserver", self._is_ready)

    def _start_controllers(self) -> None:
        kubeconfig = self._folder / "controllers.yaml"
        kubeconfig.touch(mode=0o600)
        kubeconfig.write_text(self.kubeconfig(self.component_token))
        options = {
            "--kubeconfig": kubeconfig,
            "--controllers": ",".join(_CONTROLLERS),
            "--leader-elect": "false",
            "--bind-address": LOOPBACK,
            "--secure-port": self._controllers_port,
            "--port": 0,
            "--feature-gates": _FEATURES,
            "--cert-dir": self._folder / "certificates",
        }
        self._start("controllers", self._binaries.controller_manager, options)
        self._await("controllers", self._are_controllers_ready)

    def _is_ready(self) -> bool:
        with self.client() as client:
            return client.get("/readyz").is_success

    def _are_controllers_ready(self) -> bool:
        # Its certificate is one that it has made for itself.
        url = f"https://{LOOPBACK}:{self._controllers_port}/healthz"
        return httpx.get(url, verify=False, timeout=_REQUEST_SECONDS).is_success  # noqa: S501

    def _start(self, name: str, program: Path, options: dict[str, object]) -> None:
        self._processes[name] = LoggedProcess(
            [str(program), *(f"{option}={value}" for option, value in options.items())],
            environment={**clean_environment(os.environ), MARK_VARIABLE: self._mark},
            folder=self._folder,
            log_file=self._folder / f"{name}.log",
        )

    def _await(self, name: str, is_ready: Callable[[], bool]) -> None:
        process = self._processes[name]
        deadline = time.monotonic() + _START_SECONDS
        while not _has_answered(is_ready):
            if process.exit_status is not None or time.monotonic() > deadline:
                message = f"{name} does not start (exit status {process.exit_status}):\n{process.tail()}"
                raise ControlPlaneError(message)
            time.sleep(_LOOK_INTERVAL)


class Credentials:
    """A certificate authority, and one certificate that serves all servers and all clients of this control plane."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
        leaf = authority.issue_cert(LOOPBACK, "localhost", key_type=trustme.KeyType.ECDSA)
        self.ca = authority.cert_pem.bytes()
        self.ca_file = folder / "ca.pem"
        self.certificate_file = folder / "certificate.pem"
        self.key_file = folder / "key.pem"
        self.ca_file.write_bytes(self.ca)
        self.certificate_file.write_bytes(leaf.cert_chain_pems[0].bytes())
        self.key_file.touch(mode=0o600)
        self.key_file.write_bytes(leaf.private_key_pem.bytes())

    def trust(self) -> ssl.SSLContext:
        """Return what a client checks servers with, as strictly as the newest Python does."""
        context = ssl.create_default_context(cafile=self.ca_file)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context


def free_ports(number: int) -> Sequence[int]:
    """Return ports of loopback that nobody listens on."""
    probes = [socket.socket() for _ in range(number)]
    for probe in probes:
        probe.bind((LOOPBACK, 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _has_answered(is_ready: Callable[[], bool]) -> bool:
    try:
        return is_ready()
    except httpx.TransportError:
        return False

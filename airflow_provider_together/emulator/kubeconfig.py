"""
The kubeconfig of an emulated cluster.

It is valid YAML of the right kind. Without the emulator's Kubernetes side it leads nowhere; with it, to an API server
on loopback. It imports nothing of ours.
"""

from __future__ import annotations

import base64

# A name under .invalid is promised never to resolve, so that no client talks to somebody's real server.
_NOWHERE = "https://{cluster_id}.emulator.invalid:6443"
_TEMPLATE = """\
apiVersion: v1
kind: Config
clusters:
- name: "{cluster_id}"
  cluster:
    server: {server}
    {trust}
users:
- name: "{cluster_id}-admin"
  user:
    token: {token}
contexts:
- name: "{cluster_id}"
  context:
    cluster: "{cluster_id}"
    user: "{cluster_id}-admin"
current-context: "{cluster_id}"
"""


def make_kubeconfig(cluster_id: str, *, text: str | None = None) -> str:
    """
    Return the YAML text of a cluster's kubeconfig.

    :param text: what to return instead of one that leads nowhere.
    """
    if text is not None:
        return text
    return _TEMPLATE.format(
        cluster_id=cluster_id,
        server=_NOWHERE.format(cluster_id=cluster_id),
        trust="insecure-skip-tls-verify: true",
        token=f"emulated-token-{cluster_id}",
    )


def kubeconfig_for(cluster_id: str, *, server: str, authority: str, token: str) -> str:
    """
    Return the YAML text of the kubeconfig of a cluster that has an API server.

    :param server: its address.
    :param authority: the certificate of the authority to trust, as PEM in base64.
    """
    trust = f"certificate-authority-data: {authority}"
    return _TEMPLATE.format(cluster_id=cluster_id, server=server, trust=trust, token=token)


def encode(text: str) -> str:
    """Encode a kubeconfig as the current API sends it."""
    return base64.b64encode(text.encode()).decode()

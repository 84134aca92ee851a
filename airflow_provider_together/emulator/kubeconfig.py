"""
The kubeconfig of an emulated cluster.

It is valid YAML of the right kind, and leads nowhere: there is no Kubernetes behind the emulator. It imports
nothing of ours.
"""

from __future__ import annotations

import base64

# A name under .invalid is promised never to resolve, so that no client talks to somebody's real server.
_TEMPLATE = """\
apiVersion: v1
kind: Config
clusters:
- name: "{cluster_id}"
  cluster:
    server: https://{cluster_id}.emulator.invalid:6443
    insecure-skip-tls-verify: true
users:
- name: "{cluster_id}-admin"
  user:
    token: emulated-token-{cluster_id}
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
    return _TEMPLATE.format(cluster_id=cluster_id) if text is None else text


def encode(text: str) -> str:
    """Encode a kubeconfig as the current API sends it."""
    return base64.b64encode(text.encode()).decode()

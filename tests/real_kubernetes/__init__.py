"""
The Kubernetes operators and the emulator's Kubernetes side, checked on a real API server.

``uv run --all-extras pytest -m real_kubernetes tests/real_kubernetes`` builds kube-apiserver and
kube-controller-manager 1.20.2 once, on Debian 12, and runs them on loopback. Only what runs containers is ours
(``node_agent.py``): admission, validation, storage, watches, owner references and the Job controller are
Kubernetes' own. That version knows no Indexed Jobs.
"""

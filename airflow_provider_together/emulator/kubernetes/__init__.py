"""
The Kubernetes side of the emulator: a small fake of an API server, whose containers really run as processes.

To which the kubeconfig of every emulated cluster leads when the emulator is started with ``kubernetes=True``. It has
what the shipped operators and Airflow's pod operator need, and refuses what it does not have by name. There are no
images, no mount namespaces and no network of its own: a container is a process group on this machine, in a folder of
its pod, with the rights of this user.

From the outside in: ``server.py`` serves, with the ``certificate.py``, the clusters of the ``inventory.py``; ``api.py``
answers requests, with ``selection.py`` for lists and watches and ``pod_requests.py`` for logs and commands;
``admission.py`` says what may be made, and ``store.py`` keeps it. ``cluster.py`` lets the controllers work on it:
``jobs.py``, ``nodes.py``, ``volumes.py``, ``pods.py``. A pod's containers are prepared in ``environment.py``, run in
``container.py`` and entered in ``exec.py``; ``supervision.py`` sees to it that no process outlives the emulator.
``handle.py`` is the Python side, which looks into a cluster and lets things go wrong there; ``record.py`` is what is
remembered of it.
"""

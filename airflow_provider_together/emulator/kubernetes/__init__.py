"""
The Kubernetes side of the emulator: an API server, its controllers, and kubelets that really run commands.

To which the kubeconfig of every emulated cluster leads when the emulator is started with ``kubernetes=True``. There
are no images, no mount namespaces and no network of its own: a container is a process group on this machine, in a
folder of its pod, with the rights of this user.

From the outside in: ``server.py`` serves, ``app.py`` checks and hands on, ``reading.py`` and ``writing.py`` answer;
``store.py`` keeps the objects of a cluster, ``cluster.py`` lets the controllers work on them (``scheduler.py``,
``jobs.py``, ``claims.py``, ``kubelet.py``, ``deletion.py``); ``pod_processes.py`` runs a pod, ``container_life.py``
a container and ``container_process.py`` one run of it; ``supervision.py`` sees to it that no process outlives the
emulator. ``handle.py`` is the Python side.
"""

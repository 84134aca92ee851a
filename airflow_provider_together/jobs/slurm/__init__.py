"""
A training on Slurm: the options of a batch job, what runs on the login host, and what its states mean.

It is built as clusters and Kubernetes jobs are: ``flows.py`` says what is done, as generators of steps without I/O, and
a driver, ``runtime/slurm_driver.py``, does it. Two things differ. A step is not an HTTP request but a program on the
login host, a :class:`~airflow_provider_together.jobs.slurm.programs.RemoteProgram`, whose shell is in ``remote.sh``.
And there is one driver instead of two, an async one: an ssh connection is kept open between looks and belongs to an
event loop, since its library, asyncssh, is async. A worker runs its flows on an event loop beside its own thread,
``runtime/background.py``, so that the thread stays free for Airflow's signals.
"""

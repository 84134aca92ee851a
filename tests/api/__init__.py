"""
The tests of the engine, one file per module of ``airflow_provider_together.api``.

``support`` builds settings, answers and clusters; ``driving`` runs flows by hand and the two drivers by one
name; ``loopback`` has servers that misbehave on real sockets. Nothing in here imports Airflow.
"""

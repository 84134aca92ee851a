"""
Which cluster is whose, from the request to the proof that it is gone.

Names, owners and flows: no Airflow, no client, no clock. Read ``name`` and ``owner`` first, then ``create``,
``adoption``, ``delete`` and ``orphans``.
"""

"""
What a training run is on a cluster: the objects that are sent to Kubernetes or Slurm, and what their states mean.

Pure functions and values: no Airflow, no client, no clock.
"""

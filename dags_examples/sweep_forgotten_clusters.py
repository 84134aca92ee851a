"""
Every hour, delete GPU clusters of this Airflow that nobody needs any more.

Airflow tells nobody when `dagrun_timeout` ends a run, or when the last try of a task is killed. This DAG looks at
Together's own list: what is past its end of life, or was made for a DAG run that is over, goes. Clusters with names
of your own, and those of other deployments, stay. Set `delete=False` to be told only.
"""

from datetime import datetime, timedelta

from airflow.sdk import dag

from airflow_provider_together.operators.sweep import SweepGPUClustersOperator


@dag(schedule="@hourly", start_date=datetime(2026, 1, 1), catchup=False, max_active_runs=1)
def sweep_forgotten_clusters() -> None:
    SweepGPUClustersOperator(task_id="sweep", delete=True, retries=3, retry_delay=timedelta(minutes=5))


sweep_forgotten_clusters()

"""Apache Airflow provider for GPU clusters of Together AI."""

__version__ = "0.1.0"

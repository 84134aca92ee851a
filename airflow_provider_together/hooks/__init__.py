"""Connections to Together, as Airflow knows them."""

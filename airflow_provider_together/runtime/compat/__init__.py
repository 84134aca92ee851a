"""What differs between versions of Airflow, and what Airflow does not promise to providers; by subject."""

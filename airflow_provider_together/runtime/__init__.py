"""How a task lives in Airflow: its connection, memory, deferral, errors, and what differs between versions."""

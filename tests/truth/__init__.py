"""What people do to DAGs with clusters in them, and whether a green run is true: one generated table."""

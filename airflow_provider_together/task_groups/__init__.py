"""Blocks of a DAG that come with their own setup and teardown."""

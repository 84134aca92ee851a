"""Both wire APIs as files, and the tools that hold requests and answers against them.

The files are a third opinion beside the client and the emulator. Nothing here imports
``airflow_provider_together``: a misunderstanding of the API must not hide on both sides of a test.
"""

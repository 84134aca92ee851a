"""
What waiting for GPU clusters costs, beside what it costs with others' packages.

No test run collects this folder unless it is named. The whole of it takes about ten minutes on two cores:

    uv run --all-extras --group benchmarks --with-requirements tests/benchmarks/databricks.txt pytest tests/benchmarks

Without ``--with-requirements`` the databricks provider is left out. Everything is on loopback, everything that is
measured is in a process of its own, and the tables at the end hold figures of one run on one machine: compare the
ratios, and let nothing else run meanwhile.
"""

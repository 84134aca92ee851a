"""A training on Slurm: the options of a batch job, what runs on the login host, and what its states mean."""

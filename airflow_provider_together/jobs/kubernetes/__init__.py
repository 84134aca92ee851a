"""A training on Kubernetes: what is sent to make it, and what the objects that come back mean."""

"""The pipeline's five jobs: generate, bronze, features, materialize, verify.

Each is a package with a command line (``python -m jobs.<name>``). None of them knows of Airflow, Docker or
Kubernetes: they know a lake, a range of days and, for the last two, an online store.
"""

"""Feast to Redis without a Python object per value: a batch engine and an online store by class path. See README.md."""

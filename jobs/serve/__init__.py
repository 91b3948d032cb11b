"""Serves online features over HTTP, straight from Redis: no registry, no lake."""

# Before Feast, which sets it up for many processes: every count would be written to a file in a folder of its own.
import prometheus_client  # noqa: F401

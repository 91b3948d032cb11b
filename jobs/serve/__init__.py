"""Serves online features over HTTP, straight from Redis: no registry, no lake."""

"""Reads the online store back by card and compares it with silver."""

"""Base images for a machine that reaches Debian packages and Go modules but no image registry.

Standard library only: it runs on a bare machine, before the project's environment exists.
"""

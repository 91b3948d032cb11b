"""A kind node image for a machine that reaches Debian packages and Go modules but no image registry."""

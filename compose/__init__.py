"""The stack on Docker Compose: `python -m compose.stack`."""

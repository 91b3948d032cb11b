"""The Feast repo: entities, views, services, and what is computed at request time."""

"""The whole stack on Docker Compose: `make e2e-compose`. Not a part of `make test`, which needs no container."""

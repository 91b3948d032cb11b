"""The stack on Kubernetes, in a kind cluster."""

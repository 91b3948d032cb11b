"""The Helm charts. `python -m charts.build` writes what is derived from their values."""

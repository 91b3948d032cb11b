"""What the project is compared with, side by side: ``make bench``, ``make bench-quick``. See ``docs/benchmarks.md``."""

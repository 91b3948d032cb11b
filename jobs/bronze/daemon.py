"""The process that Spark's Python workers are forked from, with what they need already imported: once, not by each."""

from __future__ import annotations

from pyspark.daemon import manager

import jobs.bronze.stage  # noqa: F401

if __name__ == "__main__":
    manager()

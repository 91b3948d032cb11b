"""The process that Spark forks its Python workers from: what their tasks need is imported here, once."""

from pyspark.daemon import manager

import jobs.features.tasks  # noqa: F401

if __name__ == "__main__":
    manager()

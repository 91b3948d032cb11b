"""``python -m jobs.bronze``."""

from jobs.bronze.job import command
from jobs.common.cli import main

if __name__ == "__main__":
    main(command)

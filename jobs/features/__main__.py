"""``python -m jobs.features``."""

from jobs.common.cli import job_command, main
from jobs.features.job import run

command = job_command("features")(run)

if __name__ == "__main__":
    main(command)

"""``python -m jobs.materialize``"""

from jobs.common.cli import main
from jobs.materialize.job import command

if __name__ == "__main__":
    main(command)

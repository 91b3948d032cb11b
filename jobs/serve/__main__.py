"""``python -m jobs.serve``"""

from jobs.common.cli import main
from jobs.serve.job import command

if __name__ == "__main__":
    main(command)

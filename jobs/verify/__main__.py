"""``python -m jobs.verify``"""

from jobs.common.cli import main
from jobs.verify.job import command

if __name__ == "__main__":
    main(command)

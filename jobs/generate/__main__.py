from jobs.common.cli import main
from jobs.generate.job import command

if __name__ == "__main__":
    main(command)

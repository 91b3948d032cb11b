"""Brings the database to the schema of this image's Airflow, and makes the first user or sets its password.

May run again at any time. The password is in no list of processes: arguments go through a pipe.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

from database import ask

AIRFLOW = "import json, sys; from airflow.__main__ import main; sys.argv = ['airflow', *json.load(sys.stdin)]; sys.exit(main())"


def main() -> None:
    user = os.environ["ADMIN_USERNAME"]
    login = ["--username", user, "--password", os.environ["ADMIN_PASSWORD"]]
    airflow("db", "migrate")
    if ask("SELECT 1 FROM ab_user WHERE username = %s", user):
        airflow("users", "reset-password", *login)
    else:
        name = ["--firstname", "Air", "--lastname", "Flow", "--email", os.environ["ADMIN_EMAIL"]]
        airflow("users", "create", *login, "--role", "Admin", *name)
    print(f"The database has its schema, and the user {user}.")


def airflow(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-c", AIRFLOW], input=json.dumps(arguments), text=True)
    if done.returncode:
        sys.exit(f"airflow {arguments[0]} {arguments[1]} failed, see above.")


if __name__ == "__main__":
    main()

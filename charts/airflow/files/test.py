"""Logs in to the API server and asks for the DAGs: ``helm test``."""

from __future__ import annotations

import json
import os
import sys
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen


def main() -> None:
    base = os.environ["AIRFLOW_URL"]
    login = {"username": os.environ["ADMIN_USERNAME"], "password": os.environ["ADMIN_PASSWORD"]}
    token = ask(f"{base}/auth/token", login)["access_token"]
    dags = ask(f"{base}/api/v2/dags", token=token)["dags"]
    print(f"{base} answers with {len(dags)} DAGs: {', '.join(sorted(dag['dag_id'] for dag in dags)) or 'none'}")


def ask(url: str, body: object = None, token: str = "") -> dict:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    data = json.dumps(body).encode() if body else None
    try:
        with urlopen(Request(url, data, headers), timeout=30) as response:
            return json.load(response)
    except HTTPError as error:
        sys.exit(f"{url} answered {error.code}: {error.read(500).decode(errors='replace')}")
    except URLError as error:
        sys.exit(f"{url} does not answer: {error.reason}")


if __name__ == "__main__":
    main()

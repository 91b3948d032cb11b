"""Deletes the jobs' pods that finished long ago, in the namespace of this pod. By the Kubernetes API, nothing to install."""

from __future__ import annotations

import argparse
import json
import os
import ssl
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

ACCOUNT = Path(os.environ.get("SERVICE_ACCOUNT_FOLDER", "/var/run/secrets/kubernetes.io/serviceaccount"))
SELECTOR = "app.kubernetes.io/name=fti-job"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, required=True, help="how long a finished pod stays")
    since = datetime.now(UTC) - timedelta(hours=parser.parse_args().hours)
    try:
        deleted = clean(since)
    except HTTPError as error:
        sys.exit(f"The Kubernetes API answered {error.code} to {error.url}: {error.read(300).decode(errors='replace')}")
    except (URLError, OSError) as error:
        sys.exit(f"The Kubernetes API does not answer: {error}.")
    print(f"Deleted {len(deleted)} pods that finished before {since:%Y-%m-%d %H:%M} UTC. {' '.join(deleted)}".strip())


def clean(since: datetime) -> list[str]:
    """Names of the pods that were deleted. They are read by the page, so that thousands fit the memory."""
    deleted, page = [], ""
    while True:
        answer = ask("GET", f"?labelSelector={quote(SELECTOR)}&limit=200&continue={quote(page)}")
        for pod in answer["items"]:
            ended = finished(pod)
            if ended and ended < since:
                ask("DELETE", f"/{pod['metadata']['name']}")
                deleted.append(pod["metadata"]["name"])
        page = answer["metadata"].get("continue", "")
        if not page:
            return deleted


def finished(pod: dict[str, Any]) -> datetime | None:
    """When the pod ended; none while it runs. Of one that never ran, when it was made."""
    if pod["status"].get("phase") not in ("Succeeded", "Failed"):
        return None
    states = [status.get("state", {}).get("terminated") for status in pod["status"].get("containerStatuses", [])]
    ends = [state["finishedAt"] for state in states if state and state.get("finishedAt")]
    return datetime.fromisoformat(max(ends, default=pod["metadata"]["creationTimestamp"]))


def ask(method: str, path: str) -> dict[str, Any]:
    namespace = (ACCOUNT / "namespace").read_text().strip()
    server = os.environ.get("KUBERNETES_API", "https://kubernetes.default.svc")
    request = Request(f"{server}/api/v1/namespaces/{namespace}/pods{path}", method=method)
    request.add_header("Authorization", f"Bearer {(ACCOUNT / 'token').read_text().strip()}")
    certificate = ACCOUNT / "ca.crt"
    context = ssl.create_default_context(cafile=str(certificate)) if certificate.exists() else None
    try:
        with urlopen(request, timeout=30, context=context) as response:
            return json.load(response)
    except HTTPError as error:
        if method == "DELETE" and error.code == 404:  # someone else was quicker
            return {}
        raise


if __name__ == "__main__":
    main()

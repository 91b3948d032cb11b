"""A cluster in as far as `lookup` asks one: an API on loopback that knows the objects that it is given."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KINDS = {
    "Secret": "secrets",
    "ConfigMap": "configmaps",
    "PersistentVolumeClaim": "persistentvolumeclaims",
    "Namespace": "namespaces",
}


@contextmanager
def cluster(objects: Iterable[dict[str, Any]], namespace: str) -> Iterator[str]:
    """The kubeconfig of a cluster that holds these objects of the kinds above, and no other.

    What names no namespace is in the given one.
    """
    answers: dict[str, Any] = {_path(thing, namespace): thing for thing in objects if thing["kind"] in KINDS}
    resources = [
        {"kind": k, "name": n, "namespaced": k != "Namespace", "singularName": "", "verbs": ["get"]}
        for k, n in KINDS.items()
    ]
    answers["/api/v1"] = {"kind": "APIResourceList", "groupVersion": "v1", "resources": resources}
    missing = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = answers.get(self.path.partition("?")[0])
            body = json.dumps(answer or missing).encode()
            self.send_response(200 if answer else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "test", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
                    "users": [{"name": "test", "user": {}}],
                    "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
                    "current-context": "test",
                }
            )
        finally:
            server.shutdown()


def _path(thing: dict[str, Any], namespace: str) -> str:
    metadata = thing["metadata"]
    if thing["kind"] == "Namespace":
        return f"/api/v1/namespaces/{metadata['name']}"
    return f"/api/v1/namespaces/{metadata.get('namespace', namespace)}/{KINDS[thing['kind']]}/{metadata['name']}"

#!/usr/bin/env python3
"""Enforces NetworkPolicy (networking.k8s.io/v1) for the pods of this node with one nftables table, `ip netpol`.

Pods, namespaces and policies are watched; each change renders the whole table and swaps it in one transaction.
Whatever fails leaves the rules as they were. IPv4 only. `nft list table ip netpol` on the node shows the result.

forward  pod to pod and pod to or from outside, after kube-proxy's DNAT and before any SNAT: real pod addresses.
input    pod to the node itself (so to the API server): only the pod's egress rules apply.
output   not hooked: the node, its kubelet's probes and its hostNetwork pods reach every pod, as Kubernetes wants.
"""

from __future__ import annotations

import ipaddress
import json
import os
import signal
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

Object = dict[str, Any]
Items = dict[tuple[str | None, str], Any]

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
SUBNETS = [s for s in os.environ.get("POD_SUBNET", "10.244.0.0/16").split(",") if ":" not in s]
changed = threading.Condition()


def log(text: str) -> None:
    print(time.strftime("%H:%M:%S"), text, flush=True)


# --- what is kept of each object


def pod(o: Object) -> Object | None:
    spec, status = o["spec"], o.get("status", {})
    if spec.get("hostNetwork") or status.get("phase") in ("Succeeded", "Failed"):
        return None  # a finished pod's address may be another's by now
    containers = spec["containers"] + [c for c in spec.get("initContainers", []) if c.get("restartPolicy") == "Always"]
    return {
        "ns": o["metadata"]["namespace"],
        "labels": o["metadata"].get("labels", {}),
        "made": o["metadata"]["creationTimestamp"],
        "placed": "nodeName" in spec,
        "ip": next((i["ip"] for i in status.get("podIPs", []) if ":" not in i["ip"]), None),
        "ports": [
            (p.get("protocol", "TCP"), p["name"], p["containerPort"])
            for c in containers
            for p in c.get("ports", [])
            if p.get("name")
        ],
    }


def namespace(o: Object) -> Object:
    return dict(o["metadata"].get("labels", {}))


def policy(o: Object) -> Object:
    spec = o.get("spec", {})
    return {
        "ns": o["metadata"]["namespace"],
        "selector": spec.get("podSelector", {}),
        "types": spec.get("policyTypes") or ["Ingress"] + ["Egress"] * bool(spec.get("egress")),
        "ingress": spec.get("ingress") or [],
        "egress": spec.get("egress") or [],
    }


class Watch(threading.Thread):
    """Keeps `items` (by namespace and name) equal to what the API server has; None until the first list."""

    def __init__(self, path: str, keep: Callable[[Object], Object | None]) -> None:
        super().__init__(daemon=True)
        self.path, self.keep = path, keep
        self.items: Items | None = None
        self.start()

    def get(self, query: str, timeout: float) -> HTTPResponse:
        # The one node's own API server: the Service address leads outside until kube-proxy is up.
        server = f"https://{os.environ['HOST_IP']}:6443"
        token = (ACCOUNT / "token").read_text().strip()  # read each time: the kubelet renews it
        request = urllib.request.Request(server + self.path + query, headers={"Authorization": f"Bearer {token}"})
        tls = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
        answer: HTTPResponse = urllib.request.urlopen(request, timeout=timeout, context=tls)
        return answer

    def run(self) -> None:
        said: str | None = None
        while True:
            try:
                self.follow()
                said = None
            except Exception as error:
                if said != (said := repr(error)):  # once, however long it lasts
                    log(f"{self.path}: {said}; the rules stay as they are")
                time.sleep(1)

    def follow(self) -> None:
        """Lists, then takes changes as they come, for a minute."""

        def name(o: Object) -> tuple[str | None, str]:
            return o["metadata"].get("namespace"), o["metadata"]["name"]

        with self.get("", 3) as answer:
            listed = json.load(answer)
        self.put({name(o): self.keep(o) for o in listed["items"]})
        with self.get(
            f"?watch=1&timeoutSeconds=60&resourceVersion={listed['metadata']['resourceVersion']}", 70
        ) as answer:
            for line in answer:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise RuntimeError(event["object"].get("message"))
                gone = event["type"] == "DELETED"
                self.put({**(self.items or {}), name(event["object"]): None if gone else self.keep(event["object"])})

    def put(self, items: Items) -> None:
        items = {k: v for k, v in items.items() if v is not None}
        with changed:
            if items != self.items:
                self.items = items
                changed.notify()


# --- rules


def matches(selector: Object, labels: dict[str, str]) -> bool:
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for expression in selector.get("matchExpressions") or []:
        value, values = labels.get(expression["key"]), expression.get("values") or []
        if not {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }[expression["operator"]]:
            return False
    return True


def peers(
    ns: str, entries: list[Object] | None, side: str, pods: list[Object], namespaces: Object
) -> Iterator[tuple[str, list[Object]]]:
    """For each entry of a rule's `from` or `to`: an nft match on `ip side`, and the pods it covers."""
    if not entries:
        yield "", pods
    for entry in entries or []:
        if block := entry.get("ipBlock"):
            net, *holes = (ipaddress.ip_network(c, strict=False) for c in [block["cidr"], *block.get("except", [])])
            if net.version == 4:
                text = f"ip {side} {net} " if net.prefixlen else ""
                inside = [
                    p for p in pods if (a := ipaddress.ip_address(p["ip"])) in net and not any(a in h for h in holes)
                ]
                yield text + "".join(f"ip {side} != {h} " for h in holes), inside
            continue
        spaces, labels = entry.get("namespaceSelector"), entry.get("podSelector") or {}
        chosen = [
            p
            for p in pods
            if matches(labels, p["labels"])
            and (p["ns"] == ns if spaces is None else matches(spaces, namespaces.get(p["ns"], {})))
        ]
        if chosen:
            yield f"ip {side} {{ {', '.join(sorted(p['ip'] for p in chosen))} }} ", chosen


def allowed(pod: Object, pol: Object, direction: str, pods: list[Object], namespaces: Object) -> Iterator[str]:
    """The nft rules that let this pod's traffic through: `return` goes on to the other direction's check."""
    side, field = ("saddr", "from") if direction == "Ingress" else ("daddr", "to")
    for rule in pol[direction.lower()]:
        for match, covered in peers(pol["ns"], rule.get(field), side, pods, namespaces):
            for port in rule.get("ports") or [None]:
                proto, number = (port or {}).get("protocol", "TCP"), (port or {}).get("port")
                if port is None:
                    yield f"{match}return"
                elif number is None:
                    yield f"{match}meta l4proto {proto.lower()} return"
                elif isinstance(number, int):
                    last = f"-{port['endPort']}" if port.get("endPort", number) > number else ""
                    yield f"{match}{proto.lower()} dport {number}{last} return"
                else:  # a named port: the name is the receiving pod's
                    for to in [pod] if direction == "Ingress" else covered:
                        where = match if direction == "Ingress" else f"ip daddr {to['ip']} "
                        for n in sorted({p[2] for p in to["ports"] if p[:2] == (proto, number)}):
                            yield f"{where}{proto.lower()} dport {n} return"


def block(head: str, lines: list[str]) -> str:
    return f"  {head} {{\n" + "".join(f"    {line}\n" for line in lines) + "  }\n"


def render(pods: Items | None, namespaces: Items | None, policies: Items | None) -> tuple[str, str]:
    """The table's text, and a summary. With no argument known (None) all pod traffic is held."""
    start = pods is None
    everyone, rulebook = list((pods or {}).values()), list((policies or {}).values())
    spaces = {name: labels for (_, name), labels in (namespaces or {}).items()}
    at = {p["ip"]: p for p in sorted(everyone, key=lambda p: p["made"]) if p["ip"]}  # the newest of one address
    chains: dict[tuple[str, ...], str] = {}
    maps: dict[str, list[str]] = {"Ingress": [], "Egress": []}
    held = {"Ingress": start, "Egress": start}
    for p in everyone:
        mine = [q for q in rulebook if q["ns"] == p["ns"] and matches(q["selector"], p["labels"])]
        for way in maps:
            if not (those := [q for q in mine if way in q["types"]]):
                continue
            if not p["ip"]:
                # It may send before its address is known here: until then addresses without a known pod are held.
                held[way] |= p["placed"]
            elif at[p["ip"]] is p:
                rules: dict[str, None] = {}  # in order, each once
                for q in those:
                    try:
                        rules |= dict.fromkeys(allowed(p, q, way, list(at.values()), spaces))
                    except Exception as error:
                        log(f"a policy of {q['ns']}: {error!r}; it allows nothing")
                maps[way].append(f"{p['ip']} : jump {chains.setdefault(tuple(rules), f'rules{len(chains)}')}")

    def elements(items: list[str]) -> list[str]:
        return [f"elements = {{ {', '.join(sorted(items))} }}"] if items else []

    def hold(way: str, side: str) -> list[str]:
        return [f"ip {side} {s} ip {side} != @pods counter drop" for s in SUBNETS if held[way]]

    old = ["ct state established,related accept"]
    out = ["ip saddr vmap @egress", *hold("Egress", "saddr")]
    into = ["ip daddr vmap @ingress", *hold("Ingress", "daddr")]
    text = "table ip netpol\ndelete table ip netpol\ntable ip netpol {\n"
    text += block("set pods", ["type ipv4_addr", *elements(list(at))])
    text += block("set self", ["type ipv4_addr . ipv4_addr", *elements([f"{ip} . {ip}" for ip in at])])
    for lines, name in chains.items():
        text += block(f"chain {name}", [*lines, "counter drop"])
    for way, rows in maps.items():
        text += block(f"map {way.lower()}", ["type ipv4_addr : verdict", *elements(rows)])
    text += block(
        "chain forward",
        ["type filter hook forward priority 10; policy accept;", *old, "ip saddr . ip daddr @self accept", *out, *into],
    )
    text += block("chain input", ["type filter hook input priority 10; policy accept;", *old, *out])
    summary = f"{len(rulebook)} policies; {len(at)} pods, isolated: {len(maps['Ingress'])} ingress, {len(maps['Egress'])} egress"
    return text + "}\n", summary + ("; new addresses held" if any(held.values()) else "")


def nft(*args: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["nft", *args], input=text, text=True, capture_output=True)


def loaded() -> bool:
    return nft("list", "chain", "ip", "netpol", "forward").returncode == 0


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # the rules stay
    if not loaded():
        nft("-f", "-", text=render(None, None, None)[0])  # a first start: no pod traffic before the policies are known
    watches = [
        Watch("/api/v1/pods", pod),
        Watch("/api/v1/namespaces", namespace),
        Watch("/apis/networking.k8s.io/v1/networkpolicies", policy),
    ]

    def now() -> list[Items | None]:
        return [watch.items for watch in watches]

    done: str | None = None
    seen: list[Items | None] | None = None
    while True:
        with changed:
            # After ten seconds without a change too: someone may have flushed the table.
            if now() == seen:
                changed.wait(timeout=10)
            seen = now()
        if None in seen:
            continue
        try:
            text, summary = render(*seen)
            if text == done and loaded():
                continue
            result = nft("-f", "-", text=text)
            if result.returncode:
                raise RuntimeError(result.stderr.strip())
            done = text
            log(summary)
        except Exception as error:
            log(f"{error!r}; the rules stay as they are")
            time.sleep(1)
            seen = None


if __name__ == "__main__":
    main()

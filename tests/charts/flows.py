"""Who reaches whom: the semantics of NetworkPolicy, in as far as Kubernetes documents it, over pods and addresses.

An ipBlock meets a pod by its address too. The documentation leaves that open; some networks do it, so a block that is
meant for callers from outside the cluster must leave the pods out by itself.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.charts.harness import Pod


@dataclass(frozen=True)
class Place:
    """A pod, or an address outside the cluster."""

    name: str
    address: str
    namespace: str = ""
    """Of a pod; empty for an address."""
    labels: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)
    """Those that the pod names."""


@dataclass(frozen=True)
class Port:
    number: int
    protocol: str = "TCP"

    def __str__(self) -> str:
        return str(self.number) if self.protocol == "TCP" else f"{self.number}/{self.protocol.lower()}"


@dataclass(frozen=True)
class Network:
    """A cluster's policies by namespace, and the labels of its namespaces."""

    policies: list[tuple[str, dict[str, Any]]]
    namespaces: Mapping[str, Mapping[str, str]]

    def passes(self, source: Place, target: Place, port: Port) -> bool:
        return bool(self._between(source, self._rules(source), target, self._rules(target), [port]))

    def flows(self, places: list[Place], ports: Iterable[Port]) -> Iterator[tuple[str, str]]:
        """Source, and target with port, of all that passes where one end is a pod that a policy can close."""
        closed = {namespace for namespace, _ in self.policies}
        ports = list(ports)
        ends = [(place, self._rules(place)) for place in places]
        for source, from_it in ends:
            for target, to_it in ends:
                if {source.namespace, target.namespace} & closed:
                    for port in self._between(source, from_it, target, to_it, ports):
                        yield source.name, f"{target.name}:{port}"

    def ports(self) -> set[Port]:
        """All numbers that a policy names, and one that none does."""
        named = {
            Port(port["port"], port.get("protocol", "TCP"))
            for _, policy in self.policies
            for direction in ("ingress", "egress")
            for rule in policy["spec"].get(direction, [])
            for port in rule.get("ports", [])
            if isinstance(port.get("port"), int)
        }
        return named | {Port(1)}

    def _rules(self, place: Place) -> dict[str, list[dict[str, Any]] | None]:
        """What opens a place in each direction, by all policies that choose it together; None where none closes it."""
        own = [
            policy["spec"]
            for namespace, policy in self.policies
            if place.namespace == namespace and selects(policy["spec"]["podSelector"], place.labels)
        ]
        opens: dict[str, list[dict[str, Any]] | None] = {}
        for direction in ("Ingress", "Egress"):
            closing = [spec for spec in own if direction in spec["policyTypes"]]
            rules = [rule for spec in closing for rule in spec.get(direction.lower()) or []]
            opens[direction] = rules if closing else None
        return opens

    def _between(
        self, source: Place, from_it: dict[str, Any], target: Place, to_it: dict[str, Any], ports: Iterable[Port]
    ) -> list[Port]:
        """The ports that both ends let pass."""
        out = self._meeting(from_it["Egress"], "to", target, source.namespace)
        into = self._meeting(to_it["Ingress"], "from", source, target.namespace)
        return [port for port in ports if all(_names_port(rules, target, port) for rules in (out, into))]

    def _meeting(
        self, rules: list[dict[str, Any]] | None, peers: str, peer: Place, home: str
    ) -> list[dict[str, Any]] | None:
        """The rules that are for this peer."""
        return None if rules is None else [rule for rule in rules if self._meets_any(rule.get(peers), peer, home)]

    def _meets_any(self, peers: list[dict[str, Any]] | None, place: Place, home: str) -> bool:
        return not peers or any(self._meets(peer, place, home) for peer in peers)

    def _meets(self, peer: dict[str, Any], place: Place, home: str) -> bool:
        if "ipBlock" in peer:
            block, address = peer["ipBlock"], ipaddress.ip_address(place.address)
            return address in ipaddress.ip_network(block["cidr"]) and not any(
                address in ipaddress.ip_network(hole) for hole in block.get("except", [])
            )
        if not place.namespace:
            return False
        if "namespaceSelector" not in peer:
            here = place.namespace == home
        else:
            here = selects(peer["namespaceSelector"], self.namespaces.get(place.namespace, {}))
        return here and selects(peer.get("podSelector", {}), place.labels)


def selects(selector: dict[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector meets labels; an empty one meets all."""
    tests = {
        "In": lambda key, values: labels.get(key) in values,
        "NotIn": lambda key, values: labels.get(key) not in values,
        "Exists": lambda key, _: key in labels,
        "DoesNotExist": lambda key, _: key not in labels,
    }
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        tests[wanted["operator"]](wanted["key"], wanted.get("values", []))
        for wanted in selector.get("matchExpressions", [])
    )


def _names_port(rules: list[dict[str, Any]] | None, target: Place, port: Port) -> bool:
    """Whether a rule has the port; no rules at all are open. A port's name is the target's own for it."""
    if rules is None:
        return True
    for rule in rules:
        if not rule.get("ports"):
            return True
        for allowed in rule["ports"]:
            if allowed.get("protocol", "TCP") != port.protocol:
                continue
            wanted = allowed.get("port")
            first = target.ports.get(wanted) if isinstance(wanted, str) else wanted
            if wanted is None or (first is not None and first <= port.number <= allowed.get("endPort", first)):
                return True
    return False


def place_of(name: str, pod: Pod, namespace: str, address: str) -> Place:
    """Where a rendered pod would be."""
    ports = {port["name"]: port["containerPort"] for c in pod.containers for port in c.get("ports", [])}
    return Place(name, address, namespace, pod.labels, ports)

"""What the service counts, as Prometheus reads it."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from jobs.online.reader import Status

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_CARDS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)

disable_created_metrics()  # a second series for each, which nobody reads


class Metrics:
    """Counters of one service, in a registry of their own."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        self._requests = Counter(
            "fti_serve_requests", "Requests by endpoint and HTTP status.", ["endpoint", "code"], registry=registry
        )
        self._seconds = Histogram(
            "fti_serve_request_seconds", "Time to answer.", ["endpoint"], buckets=_SECONDS, registry=registry
        )
        cards = Histogram("fti_serve_cards", "Cards in a request for features.", buckets=_CARDS, registry=registry)
        redis_seconds = Histogram(
            "fti_serve_redis_seconds", "Time for which a request waited for Redis.", buckets=_SECONDS, registry=registry
        )
        failures = Counter("fti_serve_redis_failures", "Requests that Redis failed.", registry=registry)
        self._up = Gauge("fti_serve_redis_up", "Whether Redis answered last time: 1 or 0.", registry=registry)
        values = Counter("fti_serve_values", "Values by status.", ["status"], registry=registry)
        self._values = {str(status): values.labels(status) for status in Status}
        self._by_endpoint: dict[str, Histogram] = {}
        self._by_code: dict[tuple[str, int], Counter] = {}
        self.observe_cards, self.observe_redis, self.redis_failed = cards.observe, redis_seconds.observe, failures.inc

    def answered(self, endpoint: str, code: int, seconds: float) -> None:
        key = (endpoint, code)
        if key not in self._by_code:  # finding a child by its labels costs more than counting
            self._by_code[key] = self._requests.labels(endpoint, str(code))
            self._by_endpoint[endpoint] = self._seconds.labels(endpoint)
        self._by_code[key].inc()
        self._by_endpoint[endpoint].observe(seconds)

    def redis_up(self, answered: bool) -> None:
        self._up.set(answered)

    def served(self, statuses: Iterable[str]) -> None:
        for status, count in Tally(statuses).items():
            self._values[status].inc(count)

    def text(self) -> bytes:
        return generate_latest(self._registry)

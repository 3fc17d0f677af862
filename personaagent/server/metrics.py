"""What `/metrics` shows (Prometheus' text format): requests by route, and what the LM cost.

Routes are templates, so no id of a user is in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from personaagent.lm.meter import Meter

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The numbers of one server.

    Args:
        meter: of its LM.
    """

    def __init__(self, meter: Meter) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "personaagent_requests",
            "Requests by route and status.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "personaagent_request_seconds",
            "Seconds from a request to the start of its response.",
            ("method", "route"),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._registry.register(_Spent(meter))

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def text(self) -> bytes:
        """All of them, as they are now."""
        return generate_latest(self._registry)


class _Spent(Collector):
    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def collect(self) -> Iterator[Metric]:
        used = self._meter.snapshot()
        for name, value in (
            ("calls", used.calls),
            ("failed_calls", used.failed),
            ("input_tokens", used.input_tokens),
            ("cached_tokens", used.cached_tokens),
            ("output_tokens", used.output_tokens),
        ):
            about = f"{name.replace('_', ' ').capitalize()} of the LM."
            yield CounterMetricFamily(f"personaagent_lm_{name}", about, value)

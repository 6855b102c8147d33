"""Pages for those who watch a server: health, readiness, and Prometheus metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from callstream_trio.admission import Refusal

if TYPE_CHECKING:
    from callstream_trio.server import Server


class Metrics(Collector):
    """Counts only when it is asked, so that a frame costs nothing."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def page(self, path: str) -> Refusal | None:
        """Return the answer to a plain GET of one of our pages."""
        if path == "/healthz":
            return Refusal(status=200, text="ok")
        if path == "/readyz":
            is_ready = not self._server.is_draining
            return Refusal(status=200, text="ready") if is_ready else Refusal(status=503, text="draining")
        if path == "/metrics":
            text = generate_latest(self._registry).decode()
            return Refusal(status=200, text=text, content_type=b"text/plain; version=0.0.4; charset=utf-8")
        return None

    def collect(self) -> Iterable[Metric]:
        """Return the metrics of this moment."""
        server = self._server
        yield GaugeMetricFamily("callstream_calls", "Calls that are open now", value=len(server.calls))
        gathering = GaugeMetricFamily("callstream_hub_gathering", "1 while arrivals are gathered on a tick")
        gathering.add_metric([], float(server.hub.is_gathering))
        yield gathering
        relays = "TLS connections whose calls are in other workers"
        yield GaugeMetricFamily("callstream_relays", relays, value=len(server.relays))
        yield CounterMetricFamily(
            "callstream_hub_dropped", "Calls dropped for a fault of our own", value=server.hub.dropped
        )
        ended = CounterMetricFamily("callstream_calls_ended", "Calls and requests that are over", labels=["how"])
        for how, count in sorted(server.endings.items()):
            ended.add_metric([how], count)
        yield ended
        totals = Counter(server.tolerated)
        for call in server.calls:
            totals.update(call.stats.tolerated)
        tolerated = CounterMetricFamily("callstream_tolerated", "Tolerances that calls needed", labels=["what"])
        for what, count in sorted(totals.items()):
            tolerated.add_metric([what], count)
        yield tolerated

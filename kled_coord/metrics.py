"""Every Prometheus metric, in one table."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Metrics:
    """The coordinator's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.agents_connected = Gauge(
            "kled_agents_connected", "Agents with an open control link.", registry=r
        )
        self.streams_open = Gauge(
            "kled_streams_open", "Streams being relayed now.", ["kind"], registry=r
        )
        self.streams_total = Counter(
            "kled_streams_total", "Streams that were opened.", ["kind"], registry=r
        )
        self.stream_bytes_total = Counter(
            "kled_stream_bytes_total",
            "Bytes relayed; direction is to_agent or to_client.",
            ["kind", "direction"],
            registry=r,
        )
        self.stream_failures_total = Counter(
            "kled_stream_failures_total",
            "Streams that were refused or not opened, by error code.",
            ["reason"],
            registry=r,
        )
        self._add_processes(r)
        self.builds_total = Counter(
            "kled_builds_total", "Builds that ended.", ["transition", "status"], registry=r
        )
        self.build_seconds = Histogram(
            "kled_build_seconds",
            "Run time of builds.",
            buckets=(1, 2, 5, 10, 30, 60, 120, 300, 900, 3600),
            registry=r,
        )
        self.http_requests_total = Counter(
            "kled_http_requests_total", "API requests answered.", ["route", "status"], registry=r
        )
        self.http_seconds = Histogram(
            "kled_http_seconds", "Time until an API answer was complete.", registry=r
        )

    def _add_processes(self, r: CollectorRegistry) -> None:
        self.relay_processes = Gauge(
            "kled_relay_processes", "Relay processes that are running.", registry=r
        )
        self.relay_streams = Gauge(
            "kled_relay_streams", "Streams that a relay process has.", ["process"], registry=r
        )
        self.relay_restarts_total = Counter(
            "kled_relay_restarts_total",
            "Times a relay process was started again; its streams were broken before.",
            ["process"],
            registry=r,
        )
        self.offload_processes = Gauge(
            "kled_offload_processes", "Offload processes that are running.", registry=r
        )
        self.offload_connections = Gauge(
            "kled_offload_connections",
            "Connections whose TLS or WebSocket framing an offload process terminates.",
            ["process"],
            registry=r,
        )
        self.offload_restarts_total = Counter(
            "kled_offload_restarts_total",
            "Times an offload process was started again; its connections were broken before.",
            ["process"],
            registry=r,
        )

    def render(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self.registry)

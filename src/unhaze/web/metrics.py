"""Prometheus metrics: requests, seconds, places taken, items kept."""

import time

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unhaze.web.connections import Door
from unhaze.web.work import Clearer

BUCKETS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
METHODS = ("GET", "HEAD", "POST", "DELETE", "OPTIONS")


class Metrics:
    """Metrics of one application, in a registry of its own."""

    media_type = CONTENT_TYPE_LATEST

    def __init__(self, clearer: Clearer, door: Door) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "unhaze_requests",
            "Answered requests.",
            ("method", "path", "status"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "unhaze_request_seconds",
            "From the first byte of a request to the end of its response.",
            ("method", "path"),
            buckets=BUCKETS,
            registry=self.registry,
        )
        taken = Gauge("unhaze_places_taken", "Uploads at work or waiting.", registry=self.registry)
        taken.set_function(lambda: clearer.desk.taken + clearer.video_desk.taken)
        kept = Gauge("unhaze_items_kept", "Photos and videos kept.", registry=self.registry)
        kept.set_function(lambda: len(clearer.uploads.items))
        open_now = Gauge("unhaze_connections", "Open connections.", registry=self.registry)
        open_now.set_function(lambda: door.open)

    def text(self) -> bytes:
        """Returns the metrics in the text format of Prometheus."""
        return generate_latest(self.registry)


class Counting:
    """ASGI middleware that counts and times every request."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def send_and_look(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self.app(scope, receive, send_and_look)
        finally:
            # The route, not the path of the request: clients must not create new series.
            path = getattr(scope.get("route"), "path", "") or "other"
            method = scope["method"] if scope["method"] in METHODS else "other"
            self.metrics.requests.labels(method, path, str(status)).inc()
            elapsed = time.perf_counter() - started
            self.metrics.seconds.labels(method, path).observe(elapsed)

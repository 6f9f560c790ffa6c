"""What the service counts and times, as Prometheus reads it."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The counters of one service; several in one process do not mix."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)  # memory, processor time and open files, where /proc tells them
        self._requests = Counter("vitesse_requests", "Requests to classify, by status.", ["status"], registry=registry)
        self._request_seconds = Histogram(
            "vitesse_request_seconds", "From a request's head to its answer.", buckets=_SECONDS, registry=registry
        )
        self._batch_images = Histogram(
            "vitesse_batch_images", "Images computed together.", buckets=_IMAGES, registry=registry
        )
        self._batch_seconds = Histogram(
            "vitesse_batch_seconds", "How long the network took for a batch.", buckets=_SECONDS, registry=registry
        )
        self.images_taken = Gauge(
            "vitesse_images_taken", "Images that were taken in and are not answered yet.", registry=registry
        )
        self.decoders_replaced = Counter(
            "vitesse_decoders_replaced", "Decoding processes that were overdue or broke.", registry=registry
        )

    def answered(self, status: int, seconds: float) -> None:
        """Count one request to classify."""
        self._requests.labels(str(status)).inc()
        self._request_seconds.observe(seconds)

    def batch_ran(self, images: int, seconds: float) -> None:
        """Count one batch."""
        self._batch_images.observe(images)
        self._batch_seconds.observe(seconds)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry)

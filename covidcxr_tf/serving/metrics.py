"""Prometheus metrics of one server: how many requests, how long, how they ended, what the model said of its films."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

CONTENT_TYPE = CONTENT_TYPE_LATEST
BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

_STATUS = {0: "ok", 1: "unreadable", 2: "lungs_not_found"}


class Metrics:
    """The metrics of one worker, in a registry of its own.

    ``covidcxr_runs_total{code}`` requests that reached the queue or were refused by it, by gRPC code;
    ``covidcxr_run_seconds`` from a thread's taking a request to its answer; ``covidcxr_wait_seconds`` in the queue;
    ``covidcxr_films_total{status}`` films by the model's status; ``covidcxr_http_requests_total{kind, status}``.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._runs = Counter("covidcxr_runs", "Requests to the model", ["code"], registry=self.registry)
        self._seconds = Histogram(
            "covidcxr_run_seconds", "Seconds in a worker's thread", buckets=BUCKETS, registry=self.registry
        )
        self._wait = Histogram("covidcxr_wait_seconds", "Seconds in the queue", buckets=BUCKETS, registry=self.registry)
        self._films = Counter("covidcxr_films", "Films by the model's status", ["status"], registry=self.registry)
        self._http = Counter("covidcxr_http_requests", "HTTP requests", ["kind", "status"], registry=self.registry)

    def ran(self, code: str, waited: float, seconds: float) -> None:
        """Count a request that a thread took."""
        self._runs.labels(code).inc()
        self._wait.observe(max(0.0, waited))
        self._seconds.observe(max(0.0, seconds))

    def refused(self, code: str) -> None:
        """Count a request that the queue did not take."""
        self._runs.labels(code).inc()

    def films(self, outputs: Mapping[str, Any]) -> None:
        """Count the films of one answer by their ``status``, if it has one."""
        if "status" in outputs:
            for status in np.ravel(outputs["status"]):
                self._films.labels(_STATUS.get(int(status), "other")).inc()

    def http(self, kind: str, status: int) -> None:
        """Count an HTTP request; `kind` is one of a few words, never a path that a client chose."""
        self._http.labels(kind, str(status)).inc()

    def gauge(self, name: str, help_text: str, value: Callable[[], Mapping[str, float]], label: str) -> None:
        """Add a gauge that is read when it is asked for: label -> value."""
        self.registry.register(_Gauge(name, help_text, value, label))

    def text(self) -> bytes:
        """Return the page in Prometheus' text format."""
        return generate_latest(self.registry)


class _Gauge:
    def __init__(self, name: str, help_text: str, value: Callable[[], Mapping[str, float]], label: str) -> None:
        self._name, self._help, self._value, self._label = name, help_text, value, label

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily(self._name, self._help, labels=[self._label])
        for label, value in self._value().items():
            family.add_metric([label], value)
        return [family]

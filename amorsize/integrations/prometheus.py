"""Metrics of runs for Prometheus: ``execute(..., on_event=metrics)``, and a page or a file from which they are read.

Counts are plain numbers and become samples only when they are read, so that an event costs 1-2 µs: no labels are looked
up, and a histogram counts all items of a chunk at once. Each run has an `Observer`. Its workers of the moment are gone
with it when the run has ended, also where an exception ended it.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from typing import Any, Final
from weakref import WeakSet

from amorsize.hints import Needs

with Needs("amorsize.integrations.prometheus", "prometheus_client", "prometheus"):
    from prometheus_client import CollectorRegistry, start_http_server, write_to_textfile
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from amorsize import events
from amorsize.plan.plan import Plan

# Upper bounds in seconds: from a call of Python to a slow request.
ITEM_S: Final = (1e-6, 1e-5, 1e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 60.0)
# From a short map to a night.
RUN_S: Final = (0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0, 36000.0)
# Clock / forecast; 1 is a forecast that was right.
RATIO: Final = (0.25, 0.5, 0.67, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 4.0)


class Histogram:
    """Counts of values by upper bound, and their sum."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float, times: int = 1) -> None:
        """Count a value ``times`` times."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times

    def family(self, name: str, text: str) -> HistogramMetricFamily:
        """Return the counts as Prometheus reads them: how many values are at most each bound."""
        names = [*map(repr, self.bounds), "+Inf"]
        return HistogramMetricFamily(
            name, text, buckets=list(zip(names, accumulate(self.counts), strict=True)), sum_value=self.sum
        )


class Observer:
    """Counts the events of one run: ``on_event=metrics.observer()``."""

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics
        self.backend = "serial"
        self.workers = set[int]()

    def __call__(self, event: events.Event) -> None:
        """Count an event. Kinds that are not known are passed over."""
        metrics = self.metrics
        with metrics.lock:
            match event:
                case events.RunStarted():
                    metrics.started += 1
                case events.BackendChosen(backend=backend):
                    self.backend = backend
                case events.WorkerStarted(worker=worker):
                    self.workers.add(worker)
                    metrics.workers_started[self.backend] += 1
                case events.WorkerRetired(worker=worker):
                    self.workers.discard(worker)
                case events.WorkerLost(worker=worker):
                    self.workers.discard(worker)
                    reason = "oom" if event.oom else "signal" if event.signal is not None else "exit"
                    metrics.workers_lost[reason] += 1
                case events.ChunkDone(items=items, failed=failed):
                    metrics.items["done"] += items - failed
                    if items:
                        metrics.item_seconds.add(event.wall_s / items, items)
                case events.ItemFailed():
                    metrics.items["failed"] += 1
                case events.RunFinished(at_s=at_s):
                    self.workers.clear()
                    metrics.runs[self.backend] += 1
                    metrics.run_seconds.add(at_s)


class Metrics:
    """Metrics of all runs that it observes.

    Parameters
    ----------
    registry : prometheus_client.CollectorRegistry, optional
        Where the metrics are registered. Default: a registry of its own, so that a module that is loaded twice does not
        register them twice.

    Raises
    ------
    ValueError
        If another `Metrics` stands in this registry.

    Notes
    -----
    ``on_event=metrics`` serves one run at a time in each thread. Maps that run at once in one event loop take an
    observer each: ``on_event=metrics.observer()``.

    Examples
    --------
    >>> import amorsize
    >>> metrics = Metrics()
    >>> amorsize.execute(abs, [-1, 2], on_event=metrics)
    [1, 2]
    >>> metrics.registry.get_sample_value("amorsize_items_total", {"outcome": "done"})
    2
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = CollectorRegistry() if registry is None else registry
        self.lock = threading.Lock()
        self.observers: WeakSet[Observer] = WeakSet()
        self.started = 0
        self.runs, self.items = Counter[str](), Counter[str](done=0, failed=0)
        self.workers_started, self.workers_lost = Counter[str](), Counter[str](oom=0, signal=0, exit=0)
        self.item_seconds, self.run_seconds, self.forecast = Histogram(ITEM_S), Histogram(RUN_S), Histogram(RATIO)
        self._here = threading.local()
        self.registry.register(self)

    def observer(self) -> Observer:
        """Return an observer for one run."""
        observer = Observer(self)
        with self.lock:
            self.observers.add(observer)
        return observer

    def __call__(self, event: events.Event) -> None:
        """Count an event of the run in this thread."""
        if isinstance(event, events.RunStarted) or not hasattr(self._here, "observer"):
            self._here.observer = self.observer()
        self._here.observer(event)
        if isinstance(event, events.RunFinished):
            del self._here.observer

    def observe_plan(self, plan: Plan) -> None:
        """Count how long a run took as a multiple of its forecast; nothing where either is unknown.

        Parameters
        ----------
        plan : Plan
            That of a run: ``results, plan = execute(..., return_plan=True)``.
        """
        if plan.took_s is not None and plan.predicted_s:
            with self.lock:
                self.forecast.add(plan.took_s / plan.predicted_s)

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics, as a registry asks for them."""
        with self.lock:
            workers = Counter[str]()
            for one in self.observers:
                workers[one.backend] += len(one.workers)
            found = [
                _counter("amorsize_runs_started", "Runs that began", {(): self.started}),
                _counter("amorsize_runs", "Runs that ended without an exception", self.runs, "backend"),
                _counter("amorsize_items", "Items that were run to their end", self.items, "outcome"),
                _counter("amorsize_workers_started", "Workers that were started", self.workers_started, "backend"),
                _counter("amorsize_workers_lost", "Workers that died", self.workers_lost, "reason"),
                _labelled(GaugeMetricFamily, "amorsize_workers", "Workers of the runs now", workers, "backend"),
                self.item_seconds.family("amorsize_item_seconds", "Seconds of an item, the mean of its chunk"),
                self.run_seconds.family("amorsize_run_seconds", "Seconds of a run"),
                self.forecast.family("amorsize_forecast_ratio", "Seconds of a run divided by its forecast"),
            ]
        yield from found

    def describe(self) -> Iterator[Metric]:
        """Yield the metrics, for a registry that looks for names it has already."""
        return self.collect()

    def serve(self, port: int = 9464, addr: str = "127.0.0.1") -> tuple[Any, threading.Thread]:
        """Serve the metrics at ``http://addr:port/metrics``, from a thread of this process.

        Returns
        -------
        tuple
            The server, with ``server_port`` and ``shutdown()``, and its thread.

        Notes
        -----
        Workers are not forked while a process has threads: processes then start by the interpreter's default method.
        Call it after a short map, or let short programs `write` a file.
        """
        server: tuple[Any, threading.Thread] = start_http_server(port, addr=addr, registry=self.registry)
        return server

    def write(self, path: str) -> None:
        """Write the metrics to a file for the node exporter's textfile collector; readers never see half of it."""
        write_to_textfile(path, self.registry)


def _counter(name: str, text: str, counts: Any, label: str | None = None) -> Metric:
    return _labelled(CounterMetricFamily, name, text, counts, label)


def _labelled(family: Any, name: str, text: str, counts: Any, label: str | None) -> Metric:
    """Return a family of samples, one for each count; its keys are the values of ``label``."""
    made = family(name, text, labels=[label] if label else [])
    for key, count in sorted(counts.items()):
        made.add_metric([key] if label else [], count)
    return made

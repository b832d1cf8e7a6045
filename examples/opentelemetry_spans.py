"""A span for each run, with OpenTelemetry's SDK: how many items on which backend, which workers and items were lost.

Needs ``pip install opentelemetry-sdk``. Here the spans are printed; a program sends them to its collector.
"""

from __future__ import annotations

import argparse
import os

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

import amorsize
from amorsize import events


class RunSpan:
    """Puts the events of one run into a span."""

    def __init__(self, span: trace.Span) -> None:
        self.span = span

    def __call__(self, event: events.Event) -> None:
        """Take in one event."""
        match event:
            case events.RunStarted(items=items) if items is not None:
                self.span.set_attribute("amorsize.items", items)
            case events.BackendChosen(backend=backend, workers=workers):
                self.span.set_attributes({"amorsize.backend": backend, "amorsize.workers": workers})
            case events.WorkerLost(worker=worker, index=index, oom=oom):
                lost = {"worker": worker, "oom": oom} | ({} if index is None else {"index": index})
                self.span.add_event("worker lost", lost)
            case events.ItemFailed(index=index, exception=exception):
                self.span.add_event("item failed", {"index": index, "exception.type": type(exception).__qualname__})


def root(x: int) -> float:
    """Return the square root of ``x``; the process of item 7 dies, as if memory had run out."""
    if x == 7:
        os.abort()
    return x**0.5


def main() -> None:
    """Run a map of which one item fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--limit", type=int, default=1000, help="number of items")
    items = range(parser.parse_args().limit)
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
    tracer = provider.get_tracer("example")
    with tracer.start_as_current_span("roots") as span:
        found = amorsize.execute(root, items, backend="processes", on_error="collect", on_event=RunSpan(span))
    print(f"{sum(isinstance(one, amorsize.Failure) for one in found)} of {len(found)} items failed")


if __name__ == "__main__":
    main()

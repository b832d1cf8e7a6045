"""Metrics of real runs, as Prometheus reads them."""

from __future__ import annotations

import gc
import json
import os
import re
import threading
import urllib.request
from pathlib import Path

import pytest

pytest.importorskip("prometheus_client")

import amorsize
from amorsize import events
from amorsize.errors import WorkerLostError
from amorsize.integrations.prometheus import Metrics
from amorsize.testing import a_run, an_event

DASHBOARD = Path(__file__).parents[2] / "examples" / "grafana-dashboard.json"


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def told(metrics: Metrics, stream: list[events.Event]) -> None:
    observer = metrics.observer()
    for event in stream:
        observer(event)


def fail_at_3(x: int) -> int:
    if x == 3:
        raise ValueError(x)
    return x


def die_at_3(x: int) -> int:
    if x == 3:
        os._exit(7)
    return x


@pytest.mark.parametrize("backend", ["serial", "threads", "processes"])
def test_counts_of_a_run(backend: str) -> None:
    metrics = Metrics()
    amorsize.execute(fail_at_3, range(40), backend=backend, max_workers=2, on_error="collect", on_event=metrics)
    assert value(metrics, "amorsize_items_total", outcome="done") == 39
    assert value(metrics, "amorsize_items_total", outcome="failed") == 1
    assert value(metrics, "amorsize_runs_total", backend=backend) == 1
    assert value(metrics, "amorsize_item_seconds_count") == 40
    assert value(metrics, "amorsize_run_seconds_bucket", le="+Inf") == 1
    assert value(metrics, "amorsize_workers", backend=backend) in (0, None)


def test_workers_that_died() -> None:
    metrics = Metrics()
    with pytest.raises(WorkerLostError):
        amorsize.execute(die_at_3, range(8), backend="processes", max_workers=2, on_event=metrics.observer())
    assert value(metrics, "amorsize_workers_lost_total", reason="exit") == 2
    assert value(metrics, "amorsize_runs_started_total") == 1
    gc.collect()
    # The run is over, though no event said so.
    assert value(metrics, "amorsize_workers", backend="processes") is None


def test_workers_of_now() -> None:
    metrics, run = Metrics(), a_run(items=4, workers=3)
    observer = metrics.observer()
    for event in run[:5]:
        observer(event)
    assert value(metrics, "amorsize_workers", backend="threads") == 3
    for event in run[5:]:
        observer(event)
    assert value(metrics, "amorsize_workers", backend="threads") == 0


def test_runs_of_several_threads_are_apart() -> None:
    metrics = Metrics()
    threads = [
        threading.Thread(target=lambda: [metrics(event) for event in a_run(items=50, workers=2)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert value(metrics, "amorsize_runs_total", backend="threads") == 4
    assert value(metrics, "amorsize_items_total", outcome="done") == 200
    assert value(metrics, "amorsize_workers_started_total", backend="threads") == 8


def test_a_chunk_counts_all_its_items() -> None:
    metrics = Metrics()
    told(metrics, [an_event(events.ChunkDone, items=1000, wall_s=2.0)])
    assert value(metrics, "amorsize_item_seconds_bucket", le="0.001") == 0
    assert value(metrics, "amorsize_item_seconds_bucket", le="0.003") == 1000
    assert value(metrics, "amorsize_item_seconds_sum") == pytest.approx(2.0)


def test_forecast_against_the_clock() -> None:
    metrics = Metrics()
    _, plan = amorsize.execute(abs, range(10), return_plan=True)
    metrics.observe_plan(plan)
    assert value(metrics, "amorsize_forecast_ratio_count") == (1 if plan.predicted_s else 0)


def test_two_registries_and_none_twice() -> None:
    Metrics()
    registry = Metrics().registry
    with pytest.raises(ValueError, match="Duplicated"):
        Metrics(registry)


def test_served_on_loopback_and_written(tmp_path: Path) -> None:
    metrics = Metrics()
    told(metrics, a_run(items=6))
    server, thread = metrics.serve(port=0)
    try:
        assert server.server_address[0] == "127.0.0.1"
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics") as page:
            assert b'amorsize_items_total{outcome="done"} 6.0' in page.read()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    metrics.write(str(tmp_path / "amorsize.prom"))
    assert "amorsize_runs_total" in (tmp_path / "amorsize.prom").read_text()


def test_the_dashboard_asks_for_metrics_that_exist() -> None:
    metrics = Metrics()
    told(metrics, a_run(items=6))
    observer = metrics.observer()
    observer(an_event(events.WorkerStarted, worker=9))
    names = {sample.name for family in metrics.registry.collect() for sample in family.samples}
    dashboard = json.loads(DASHBOARD.read_text())
    asked = {
        name
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for name in re.findall(r"amorsize_\w+", target["expr"])
    }
    assert asked <= names
    # Every metric is drawn somewhere; of histograms, the buckets.
    assert {name for name in names if not name.endswith(("_sum", "_count", "_created"))} <= asked
    assert dashboard["schemaVersion"] >= 39
    assert all(panel["datasource"]["uid"] == "${DS_PROMETHEUS}" for panel in dashboard["panels"])

"""A plan as HTML: well formed, complete, and all text of the user is escaped."""

from __future__ import annotations

from html.parser import HTMLParser
from xml.etree import ElementTree

from amorsize.facts import Breakdown, Forecast
from amorsize.plan.plan import Plan
from amorsize.plan.plan_html import SHOWN

EVIL = "<script>alert('&')</script>"


def a_forecast(workers: int, refused: str | None = None) -> Forecast:
    return Forecast(
        backend="threads",
        workers=workers,
        chunksize=1,
        start_method=None,
        total_s=1.0 / workers,
        low_s=0.1,
        high_s=2.0,
        breakdown=Breakdown(),
        refused=refused,
    )


def rows(plan: Plan) -> list[tuple[str, str]]:
    """Return the table's rows; raise if the HTML is not well formed."""
    root = ElementTree.fromstring(f"<div>{plan._repr_html_()}</div>")
    return [("".join(row[0].itertext()), "".join(row[1].itertext())) for row in root.iter("tr")]


def test_the_table_holds_the_plan_and_its_forecast():
    plan = Plan(
        backend="processes",
        n_jobs=2,
        chunksize=5,
        start_method="spawn",
        estimated_speedup=2.0,
        serial_s=1.0,
        predicted_s=0.5,
        predicted_interval_s=(0.4, 0.6),
        breakdown=Breakdown(start_s=0.1, compute_s=0.4),
        warnings=("one", "two"),
        alternatives=(a_forecast(3, refused="too much memory"),),
    )
    assert rows(plan) == [
        ("backend", "processes (spawn)"),
        ("n_jobs", "2"),
        ("chunksize", "5"),
        ("forecast", "500 ms (80 %: 400 ms to 600 ms)"),
        ("plain loop", "1 s, speedup 2.00"),
        ("of which", "start 100 ms, compute 400 ms"),
        ("warning", "one"),
        ("warning", "two"),
        ("rejected", "3 threads, chunks of 1: 333 ms (too much memory)"),
    ]


def test_without_a_forecast_none_is_shown():
    names = [name for name, _ in rows(Plan(backend="serial", n_jobs=1, chunksize=1))]
    assert names == ["backend", "n_jobs", "chunksize"]


def test_only_the_best_of_the_rejected_are_shown():
    plan = Plan(backend="serial", n_jobs=1, chunksize=1, alternatives=tuple(a_forecast(p) for p in range(1, 20)))
    assert [name for name, _ in rows(plan)].count("rejected") == SHOWN


def test_text_stays_text():
    plan = Plan(backend="serial", n_jobs=1, chunksize=1, reason=EVIL, warnings=(EVIL,))
    tags: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: tags.append(tag)  # type: ignore[method-assign]
    parser.feed(plan._repr_html_())
    assert set(tags) == {"p", "table", "tr", "th", "td"}
    assert ("warning", EVIL) in rows(plan)

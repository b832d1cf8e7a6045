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


def tables(plan: Plan) -> list[ElementTree.Element]:
    """Return the tables; raise if the HTML is not well formed."""
    return list(ElementTree.fromstring(f"<div>{plan._repr_html_()}</div>").iter("table"))


def rows(plan: Plan, table: int = 0) -> list[tuple[str, ...]]:
    return [tuple("".join(cell.itertext()) for cell in row) for row in tables(plan)[table].iter("tr")]


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
    ]
    assert rows(plan, 1) == [
        ("rejected", "forecast", "80 % interval", "why"),
        ("3 threads, chunks of 1", "333 ms", "100 ms to 2 s", "too much memory"),
    ]


def test_without_a_forecast_none_is_shown():
    names = [row[0] for row in rows(Plan(backend="serial", n_jobs=1, chunksize=1))]
    assert names == ["backend", "n_jobs", "chunksize"]


def test_the_rejected_are_folded_away_and_only_the_best_are_there():
    plan = Plan(backend="serial", n_jobs=1, chunksize=1, alternatives=tuple(a_forecast(p) for p in range(1, 20)))
    root = ElementTree.fromstring(f"<div>{plan._repr_html_()}</div>")
    (folded,) = root.iter("details")
    assert "open" not in folded.attrib
    assert "19 candidates rejected" in folded.findtext("summary", "")
    assert len(list(folded.iter("tr"))) == SHOWN + 1
    assert rows(plan, 1)[1][0] == "1 thread, chunks of 1"


def test_only_columns_of_numbers_are_aligned_on_the_right():
    plan = Plan(backend="threads", n_jobs=4, chunksize=1, predicted_s=0.5, alternatives=(a_forecast(3),))
    facts, rejected = (
        [["text-align:right" in cell.attrib["style"] for cell in row] for row in table.iter("tr")]
        for table in tables(plan)
    )
    assert facts == [[False, False]] * 3
    assert rejected == [[False, True, True, False]] * 2
    assert rows(plan, 1)[1][-1] == "0.67 times as long"


def test_text_stays_text():
    refused = (a_forecast(3, refused=EVIL),)
    plan = Plan(backend="serial", n_jobs=1, chunksize=1, reason=EVIL, warnings=(EVIL,), alternatives=refused)
    tags: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: tags.append(tag)  # type: ignore[method-assign]
    parser.feed(plan._repr_html_())
    assert set(tags) <= {"p", "table", "tr", "th", "td", "details", "summary"}
    assert ("warning", EVIL) in rows(plan)

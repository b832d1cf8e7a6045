"""The table of engines in the documentation is that of the newest measurement."""

from __future__ import annotations

from pathlib import Path

from benchmarks import clusters, results_files

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "clusters.md"


def test_the_page_has_the_newest_table():
    rows = results_files.read(clusters.newest())["rows"]
    assert clusters.PAGE_TABLE.findall(PAGE.read_text(encoding="utf-8")) == [clusters.page_table(rows)]


def test_rows_of_the_same_map_are_replaced(tmp_path):
    path = tmp_path / "clusters.json"
    for load, engine in ((1.0, "dask"), (2.0, "ray"), (3.0, "dask")):
        clusters.add(path, [{"engine": engine, "items": 3000, "load": load}])
    assert [(row["engine"], row["load"]) for row in results_files.read(path)["rows"]] == [("ray", 2.0), ("dask", 3.0)]

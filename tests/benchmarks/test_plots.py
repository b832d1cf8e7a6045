from __future__ import annotations

from functools import cache

import pytest

from benchmarks import plots, results_files, table
from benchmarks.summary import summarise

FILES = sorted(results_files.FOLDER.glob("*.json"))
FILES = [path for path in FILES if results_files.is_comparison(results_files.read(path))]


@cache
def judged(path):
    result = results_files.read(path)
    return {**result, "summary": summarise(result["rows"])}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_result_file_can_still_be_read(path):
    result = judged(path)
    page = table.render(result)
    assert all(row["workload"] in page for row in result["rows"])
    assert "execute / best rival, geometric mean" in page


@pytest.fixture(scope="module")
def _fonts_are_open(tmp_path_factory):
    """Open the fonts first: matplotlib keeps them open, which is no leak of a test."""
    pytest.importorskip("matplotlib")
    plots.draw(judged(FILES[0]), tmp_path_factory.mktemp("fonts"))


@pytest.mark.usefixtures("_fonts_are_open")
def test_a_result_file_is_drawn(tmp_path):
    drawn = plots.draw(judged(FILES[0]), tmp_path / "new")
    assert [path.name for path in drawn] == ["benchmark-regret.png", "benchmark-forecast.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)


def test_a_file_without_amorsize_has_nothing_to_draw(tmp_path):
    result = judged(FILES[0])
    rows = [{**row, "contenders": {"loop": row["contenders"]["loop"]}} for row in result["rows"]]
    assert plots.draw({**result, "rows": rows, "summary": summarise(rows)}, tmp_path) == []


def test_rows_are_sorted_by_regret():
    ratios = [point[1]["amorsize.execute"]["median"] for point in plots.regret_points(judged(FILES[0]))]
    assert ratios == sorted(ratios)
    assert ratios

"""The page of figures away from home shows the newest result files."""

from __future__ import annotations

from benchmarks import away


def test_the_page_has_the_tables_of_the_newest_results():
    page = away.PAGE.read_text(encoding="utf-8")
    assert away.with_tables(page) == page


def test_the_page_has_each_table_once():
    page = away.PAGE.read_text(encoding="utf-8")
    assert sorted(match[1] for match in away.TABLE.finditer(page)) == sorted(away.MAKERS)


def test_a_figure_that_misses_its_target_is_bold():
    assert (away.against(True, "1.02"), away.against(False, "1.36")) == ("1.02", "**1.36**")

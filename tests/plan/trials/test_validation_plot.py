"""The plot of a validation: the objects drawn, not their look."""

from __future__ import annotations

import pytest

from amorsize.plan.plan import Plan
from amorsize.plan.trials.compare import Comparison
from amorsize.plan.trials.race import Contender
from amorsize.plan.trials.validation import Validation
from amorsize.plan.trials.validation_plot import picture_words, plot_validation

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module", autouse=True)
def _fonts():
    """Open the fonts first: matplotlib keeps them open, which is no leak of a test."""
    a_validation().plot().draw_without_rendering()


CONTENDERS = (
    Contender(name="loop", what="a plain loop", times_s=(1.0, 1.1, 1.2), same=True),
    Contender(name="plan", what="optimize(): 2 processes", times_s=(0.5, 0.6, 0.4), same=True),
    Contender(name="threads", what="ThreadPoolExecutor()", why_not="it may not"),
)


def a_validation(interval=(0.4, 0.7)):
    plan = Plan(
        backend="processes",
        n_jobs=2,
        chunksize=1,
        predicted_s=None if interval is None else 0.5,
        predicted_interval_s=interval,
    )
    return Validation(func="f", n_used=10, n_items=10, plan=plan, contenders=CONTENDERS)


def test_everyone_who_ran_is_drawn_with_every_round():
    (axes,) = a_validation().plot().axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["optimize(): 2 processes", "a plain loop"]
    assert [bar.get_width() for bar in axes.patches if bar.get_height() == 0.55] == [0.5, 1.1]
    drawn = [list(line.get_xdata()) for line in axes.get_lines()]
    assert [1.0, 1.1, 1.2] in drawn
    assert [0.5, 0.6, 0.4] in drawn
    assert [0.5, 0.5] in drawn  # the forecast


def test_without_a_forecast_there_is_none():
    figure = a_validation(None).plot()
    (axes,) = figure.axes
    assert not figure.legends
    assert len(axes.get_lines()) == 2


def test_it_is_saved(tmp_path):
    a_validation().plot(str(tmp_path / "validation.png"))
    assert (tmp_path / "validation.png").read_bytes().startswith(b"\x89PNG")


def test_a_comparison_is_drawn_too_and_named_in_words():
    timings = Comparison(func="f", n_used=10, n_items=10, contenders=CONTENDERS)
    (axes,) = plot_validation(timings, narrow=True).axes
    assert [text.get_text() for text in axes.texts] == ["optimize(): 2 processes", "a plain loop"]
    assert picture_words(timings) == "Median seconds of each: a plain loop 1.1 s, optimize(): 2 processes 500 ms."
    assert picture_words(Comparison(func="f", n_used=0, n_items=0)) == "Nothing was run."


def test_a_dollar_sign_is_no_formula():
    odd = Contender(name="x", what="$x^2$ $\\frac$", times_s=(1.0,))
    figure = plot_validation(Comparison(func="f$x^2$", n_used=1, n_items=1, contenders=(odd,)))
    figure.draw_without_rendering()
    assert figure.axes[0].get_yticklabels()[0].get_text() == r"\$x^2\$ \$\frac\$"

"""``--html``: one self-contained page, with everything foreign escaped and a name on every figure."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser

import pytest

from amorsize.cli import report
from amorsize.cli.main import main
from amorsize.facts import Breakdown, Forecast, Trial
from amorsize.plan.plan import Plan
from amorsize.plan.trials.compare import Comparison
from amorsize.plan.trials.race import Contender
from amorsize.plan.trials.validation import Validation

pytest.importorskip("matplotlib")

EVIL = "</title></svg><script>alert(1)</script><img src=x onerror=alert(2)>$x^2$\x1b[2J\udc80"
VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """Collects tags, and checks that each is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(autouse=True, scope="module")
def _fonts_are_open():
    """Open the fonts first: matplotlib keeps them open, which is no leak of a test."""
    a_plan().plot().draw_without_rendering()


def a_plan(text: str = "because") -> Plan:
    other = Forecast(
        backend="serial", workers=1, chunksize=1, start_method=None, total_s=1.0, low_s=0.9, high_s=1.1,
        breakdown=Breakdown(compute_s=1.0), refused=None,
    )  # fmt: skip
    trial = Trial(
        backend="threads", workers=2, chunksize=1, items=1234, seconds=0.1, forecast_s=0.1, total_s=0.7, rung=0
    )
    return Plan(
        backend="threads", n_jobs=2, chunksize=1, predicted_s=0.5, predicted_interval_s=(0.4, 0.6), serial_s=1.0,
        estimated_speedup=2.0, reason=text, warnings=(text,), alternatives=(other,), trials=(trial,),
        breakdown=Breakdown(start_s=0.1, compute_s=0.4),
    )  # fmt: skip


def timings(text: str) -> dict:
    return {"func": text, "n_used": 9, "n_items": 9, "contenders": (
        Contender(name="loop", what=text, times_s=(1.0, 1.2), same=True),
        Contender(name="pool", what="Pool()", why_not=text),
    )}  # fmt: skip


def written(tmp_path, found, function: str = "m:f") -> str:
    class Arguments:
        html = str(tmp_path / "page.html")

    Arguments.function = function  # type: ignore[attr-defined]
    report.write(Arguments, "explain", found)  # type: ignore[arg-type]
    return (tmp_path / "page.html").read_text(encoding="utf-8")


def things(text: str) -> list:
    return [a_plan(text), Validation(**timings(text), plan=a_plan(text), warnings=(text,)), Comparison(**timings(text))]


@pytest.mark.parametrize("found", things("plain"), ids=["plan", "validation", "comparison"])
def test_a_page_needs_nothing_else_and_fits_screens(tmp_path, found):
    text = written(tmp_path, found)
    page = Page(text)
    linked = [value for _, attrs in page.tags for name, value in attrs.items() if name in ("src", "href", "xlink:href")]
    assert all(value.startswith(("#", "data:")) for value in linked)
    assert not page.all("script")
    assert "@import" not in text
    assert all(target.startswith("#") for target in re.findall(r"url\((.*?)\)", text))
    assert "width=device-width" in str(page.all("meta"))
    assert "prefers-color-scheme: dark" in text
    assert page.all("html") == [{"lang": "en"}]
    assert "explain m:f" in page.text


@pytest.mark.parametrize("found", things("plain"), ids=["plan", "validation", "comparison"])
def test_every_figure_has_a_name(tmp_path, found):
    page = Page(written(tmp_path, found))
    drawings = page.all("svg")
    assert len(drawings) == len(page.all("figure")) > 0
    for attrs in drawings:
        assert attrs["role"] == "img"
        assert len(attrs["aria-label"] or "") > 20
        # It is as wide as the page lets it be.
        assert "width" not in attrs


@pytest.mark.parametrize("found", things(EVIL), ids=["plan", "validation", "comparison"])
def test_everything_foreign_is_text(tmp_path, found):
    text = written(tmp_path, found, EVIL)
    page = Page(text)
    assert not page.all("script")
    assert not page.all("img")
    assert "\x1b" not in text
    assert "<script>alert(1)" in page.text


def test_the_marks_of_two_figures_are_apart(tmp_path):
    page = Page(written(tmp_path, things("plain")[1]))
    clips = [attrs["id"] for attrs in page.all("clippath")]
    assert len(set(clips)) == len(clips) > 1


def test_colours_follow_the_page(tmp_path):
    drawn = written(tmp_path, a_plan()).partition("<svg")[2].partition("</svg>")[0]
    assert "#000000" not in drawn.lower().replace("fill=", "")
    assert "var(--ink)" in drawn


def test_trials_and_rejected_are_there(tmp_path):
    page = Page(written(tmp_path, a_plan()))
    assert "1,234" in page.text
    assert "1 candidate rejected" in page.text
    assert page.all("details") == [{}]


@pytest.mark.parametrize(
    ("command", "more"),
    [
        ("optimize", []),
        ("explain", []),
        ("execute", []),
        ("tune", ["--max-seconds", "0.1"]),
        ("validate", ["--max-seconds", "0.1"]),
        ("compare", ["--max-seconds", "0.1", "--with", "serial"]),
    ],
)
def test_each_command_writes_one(tmp_path, capsys, command, more):
    path = tmp_path / "page.html"
    assert main([command, "math:sqrt", "--range", "5", "--backend", "serial", "--html", str(path), *more]) == 0
    assert f"<h1>{command} math:sqrt</h1>" in path.read_text(encoding="utf-8")
    # What is printed stays.
    told = capsys.readouterr()
    assert "2.0" in told.out if command == "execute" else "amorsize: " in told.out


def test_a_run_has_a_lane_for_each_worker(tmp_path, capsys):
    path = tmp_path / "page.html"
    how = ["--backend", "processes", "--max-workers", "1", "--quiet"]
    assert main(["execute", "math:sqrt", "--range", "5", "--html", str(path), *how]) == 0
    assert "what each worker did" in path.read_text(encoding="utf-8")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["there/is/none.html", "."])
def test_a_place_that_cannot_be_is_refused_before_anything_runs(tmp_path, capsys, name):
    assert main(["optimize", "no_such_module:f", "--range", "5", "--html", str(tmp_path / name)]) == 2
    assert "--html: must be a file in a folder that is there" in capsys.readouterr().err


def test_a_page_that_cannot_be_written_is_one_line(tmp_path, capsys, monkeypatch):
    def full(*_: object, **__: object):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report, "open", full, raising=False)
    assert main(["optimize", "math:sqrt", "--range", "5", "--html", str(tmp_path / "x.html")]) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("x.html: No space left on device")


def test_without_matplotlib_it_says_what_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["optimize", "math:sqrt", "--range", "5", "--html", str(tmp_path / "x.html")]) == 2
    assert "pip install 'amorsize[plot]'" in capsys.readouterr().err

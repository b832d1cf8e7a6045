"""The profile of a validation: apart from the timed runs, in words, as JSON and for speedscope."""

from __future__ import annotations

import json
from functools import partial, wraps

import pytest
from hands import virtual_time

import amorsize
from amorsize.cli.main import main
from amorsize.plan.trials import profiling
from amorsize.plan.trials.profiling import checked, profiled, speedscope_of, written


def leaf(x):
    return sum(range(2000)) + x


def branch(x):
    return leaf(x) + leaf(x)


def fails(x):
    raise ValueError(x)


def test_the_functions_that_take_longest_are_named_with_their_place():
    found = profiled("cProfile", branch, range(50), 1e-4)
    assert (found.profiler, found.n_items) == ("cProfile", 50)
    assert found.seconds > 0
    (line,) = (line for line in found.text.splitlines() if "leaf (test_profiling.py:" in line)
    assert line.split()[-3] == "100"
    assert "_lsprof" not in found.text


def test_as_many_items_run_as_take_about_a_second():
    ran = []
    assert profiled("cProfile", ran.append, range(100_000), 0.25).n_items == len(ran) == 4
    # They are spread over the data.
    assert ran == [12_500, 37_500, 62_500, 87_500]
    assert profiled("cProfile", ran.append, range(100_000), 0.0).n_items == profiling.MOST_ITEMS
    assert profiled("cProfile", ran.append, range(3), 60.0).n_items == 1


def test_an_exception_of_func_is_raised_and_the_profiler_ends():
    with pytest.raises(ValueError, match="0"):
        profiled("cProfile", fails, range(1), 0.1)
    assert profiled("cProfile", leaf, range(1), 0.1).n_items == 1


MAIN, WORK, PART = ("a.py", 1, "main"), ("a.py", 5, "work"), ("a.py", 9, "part")
STATS = {
    MAIN: (1, 1, 1.0, 10.0, {}),
    WORK: (2, 2, 3.0, 9.0, {MAIN: (2, 2, 3.0, 9.0)}),
    PART: (4, 4, 6.0, 6.0, {WORK: (4, 4, 6.0, 6.0)}),
}


def test_the_sums_of_calls_become_stacks():
    found = speedscope_of(STATS)
    (profile,) = found["profiles"]
    names = [frame["name"] for frame in found["shared"]["frames"]]
    stacks = [tuple(names[at] for at in stack) for stack in profile["samples"]]
    assert dict(zip(stacks, profile["weights"], strict=True)) == {
        ("main",): 1.0,
        ("main", "work"): 3.0,
        ("main", "work", "part"): 6.0,
    }
    assert profile["endValue"] == 10.0
    json.dumps(found)


def test_recursion_ends():
    stats = {**STATS, WORK: (9, 2, 3.0, 9.0, {MAIN: (2, 2, 1.0, 9.0), WORK: (7, 7, 2.0, 8.0)})}
    (profile,) = speedscope_of(stats)["profiles"]
    assert sum(profile["weights"]) == pytest.approx(10.0)
    assert all(len(set(stack)) == len(stack) for stack in profile["samples"])


def test_what_only_calls_itself_is_not_lost():
    (profile,) = speedscope_of({WORK: (9, 1, 10.0, 10.0, {WORK: (8, 8, 8.0, 9.0)})})["profiles"]
    assert (profile["samples"], profile["weights"]) == ([[0]], [10.0])


def test_no_calls_no_stacks():
    assert speedscope_of({})["profiles"][0]["samples"] == []


class Callable:
    def __call__(self, x):
        return leaf(x)

    def method(self, x):
        return leaf(x)


@wraps(leaf)
def around(x):
    return leaf(x)


@pytest.mark.parametrize(
    ("func", "name"),
    [
        (leaf, "leaf"),
        (partial(leaf), "leaf"),
        (partial(partial(leaf)), "leaf"),
        (around, "leaf"),
        (Callable(), "__call__"),
        (Callable().method, "method"),
    ],
)
def test_the_function_behind_is_found(func, name):
    assert written(func).__name__ == name


@pytest.mark.parametrize("func", [abs, str, 5])
def test_what_is_not_written_in_python_has_no_lines(func):
    with pytest.raises(ValueError, match="'cProfile' shows what it calls"):
        written(func)


def test_the_profiler_is_checked_before_anything_runs(monkeypatch):
    assert checked(None) is None
    assert checked("cProfile") == "cProfile"
    with pytest.raises(ValueError, match="profile: must be one of"):
        amorsize.validate(fails, range(3), profile="perf")
    monkeypatch.setattr(profiling, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'amorsize\[profile\]'"):
        amorsize.validate(fails, range(3), profile="pyinstrument")


@pytest.fixture
def steady(monkeypatch):
    """Items take next to no time, though this process stands still: else fewer of them run."""
    with virtual_time(monkeypatch):
        yield


@pytest.mark.usefixtures("steady")
def test_a_validation_tells_of_it():
    found = amorsize.validate(branch, range(20), max_seconds=0.2, backend="serial", profile="cProfile")
    assert found.profile is not None
    assert "cProfile, 20 items apart from the timed runs" in found.explain()
    assert "leaf (test_profiling.py:" in found.explain()
    assert found.to_dict()["profile"]["profiler"] == "cProfile"
    json.loads(found.to_json())
    assert "<details><summary>cProfile" in found._repr_html_()
    assert "&lt;listcomp" in found._repr_html_() or "<listcomp" not in found._repr_html_()


def test_without_one_there_is_none():
    found = amorsize.validate(leaf, range(5), max_seconds=0.1, backend="serial")
    assert found.profile is None
    assert found.to_dict()["profile"] is None
    assert "cProfile" not in found.explain()


def test_func_is_not_called_here_where_it_must_not_be():
    found = amorsize.validate(leaf, range(4), max_seconds=0.1, backend="processes", max_workers=1, profile="cProfile")
    assert found.profile is None
    assert "no profile: func may not be called in this process" in found.warnings


def test_the_command_writes_a_file_for_speedscope(tmp_path, capsys):
    place = tmp_path / "profile.json"
    more = ["--max-seconds", "0.1", "--backend", "serial", "--profile", "cProfile", "--speedscope", str(place)]
    assert main(["validate", "textwrap:dedent", "--range", "0", *more]) == 0
    assert not place.exists()
    lines = tmp_path / "lines"
    lines.write_text("a\nb\n")
    assert main(["validate", "textwrap:dedent", "--file", str(lines), *more]) == 0
    assert "dedent (textwrap.py" in capsys.readouterr().out
    assert json.loads(place.read_text())["$schema"].startswith("https://www.speedscope.app")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--profile", "perf"], "must be one of ('cProfile', 'pyinstrument', 'line_profiler')"),
        (["--speedscope", "x"], "--speedscope: needs --profile cProfile or --profile pyinstrument"),
    ],
)
def test_wrong_use_of_the_command_is_one_line(capsys, options, message):
    assert main(["validate", "math:sqrt", "--range", "3", *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line

"""``python -m amorsize history``: its output, its effects, and one line for each error."""

from __future__ import annotations

import json
import os
import re

import pytest

from amorsize import History
from amorsize.cli.main import main
from amorsize.history import waiting
from amorsize.history.run_row import Run
from amorsize.history.shape import Shape

SHAPE = Shape("range", "int", 50.0)
F, G = "f0" * 16, "ab" * 16


@pytest.fixture(autouse=True)
def path(tmp_path, monkeypatch):
    path = tmp_path / "history.sqlite"
    monkeypatch.setenv("AMORSIZE_HISTORY", str(path))
    yield path
    waiting.queues.clear()
    waiting.failing.clear()


@pytest.fixture
def rows():
    base = {"function": F, "name": "pkg.mod.parse", "shape": SHAPE, "n_items": 1000}
    runs = [
        Run(**base, at_s=1e9, clock_s=2.0, predicted_s=1.0, predicted_interval_s=(0.8, 1.25)),
        Run(**base, at_s=1.1e9, clock_s=1.0, predicted_s=1.0, predicted_interval_s=(0.8, 1.25), backend="processes",
            n_jobs=4, start_method="fork", source="optimize", extra={"known": 3, "surprise": True}),
        Run(at_s=1.2e9, function=G, name="pkg.other", clock_s=0.5, outcome="raised"),
    ]  # fmt: skip
    for run in runs:
        History().record(run)
    History().flush()
    return runs


def ask(capsys, *arguments):
    code = main(["history", *arguments])
    told = capsys.readouterr()
    return code, told.out, told.err


def shown(capsys, *arguments):
    code, out, err = ask(capsys, *arguments)
    assert (code, err) == (0, "")
    return out


EVIL = "\x1b]0;owned\x07\x1b[2J\u202egnp\u2066\r\n\x9b31m\u2028"


def is_tame(text):
    return text.replace("\n", "").isprintable()


def evil_rows(tmp_path):
    """A file of rows in which every text is hostile."""
    row = {"function": F, "name": EVIL, "shape": [EVIL, EVIL, 3.0], "n_items": 100, "clock_s": 1.0, "at_s": 1e9}
    row |= {"backend": "processes", "start_method": EVIL, "outcome": EVIL, "extra": {"known": 1, EVIL: EVIL}}
    row |= {"machine": {"system": EVIL, "processor": EVIL}, "predicted_s": 2.0}
    file = tmp_path / "evil.jsonl"
    broken = {**row, "backend": EVIL}
    file.write_text("".join(json.dumps(one) + "\n" for one in (row, {**row, "at_s": 2e9}, broken)) + EVIL + "\n")
    return file


def test_what_a_terminal_would_obey_is_spelled_out_in_every_command(capsys, tmp_path):
    """Escapes and marks of direction in an imported history."""
    code, out, err = ask(capsys, "import", str(evil_rows(tmp_path)))
    assert code == 0
    assert "2 rows added" in out
    assert is_tame(out + err)
    for command in (["list"], ["show", F], ["stats"], ["list", "--json"], ["show", F, "--json"], ["stats", "--json"]):
        told = shown(capsys, *command)
        assert is_tame(told), command
    listed = shown(capsys, "list").splitlines()
    assert len(listed) == 3
    assert r"\x1b]0;owned\x07\x1b[2J\u202egnp\u2066\r\n\x9b31m\u2028 [f0f0f0f0]" in listed[1]
    code, out, err = ask(capsys, "list", "--function", EVIL + "x")
    assert code == 2
    assert is_tame(out + err)
    code, out, err = ask(capsys, "list", "--path", str(tmp_path / f"no{EVIL}such" / "folder"))
    assert is_tame(out + err)


def test_a_plans_text_is_tame():
    from dataclasses import replace

    from amorsize import Plan
    from amorsize.facts import Breakdown, Forecast

    plan = Plan(backend="serial", n_jobs=1, chunksize=1, reason=EVIL, warnings=(EVIL, f"x{EVIL}"))
    how = {"backend": "processes", "workers": 2, "chunksize": 1, "start_method": EVIL, "refused": EVIL}
    other = Forecast(**how, total_s=1.0, low_s=1.0, high_s=1.0, breakdown=Breakdown())
    plan = replace(plan, alternatives=(other,))
    assert is_tame(plan.explain())
    assert plan.explain().count("\n") <= 6
    assert is_tame(plan._repr_html_())


def test_a_note_on_an_exception_is_tame():
    import amorsize

    class Item:
        def __repr__(self):
            return EVIL

    def fail(item):
        raise LookupError

    with pytest.raises(LookupError) as caught:
        amorsize.execute(fail, [Item()])
    assert is_tame(caught.value.__notes__[0])


HUGE = 10**400
NUMBERS = [HUGE, -HUGE, 1e308, -1, float("nan"), float("inf"), True, 1e400, "1", None, [], {}, [HUGE], {"a": HUGE}]


def test_rows_with_any_numbers_cost_nothing(capsys, tmp_path):
    """Integers of 400 digits, and whatever else a file of rows may hold."""
    good = {"function": F, "name": "good", "n_items": 100, "clock_s": 1.0, "at_s": 1e9, "predicted_s": 2.0}
    fields = ("clock_s", "at_s", "n_items", "n_jobs", "chunksize", "predicted_s", "predicted_interval_s", "serial_s",
              "work_s", "work_cpu_s", "work_items", "threads_gain", "sample", "machine", "shape", "extra", "times",
              "pruned_s", "known", "surprise", "name", "outcome", "start_method", "alike", "parts")  # fmt: skip
    lines = [json.dumps(good)]
    for name in fields:
        for value in NUMBERS:
            lines.append(json.dumps({**good, "at_s": 1e9 + len(lines), name: value}))
            lines.append(json.dumps({**good, "at_s": 1e9 + len(lines), name: [value, value, value]}))
            lines.append(json.dumps({**good, "at_s": 1e9 + len(lines), "sample": {"item_s": 1.0, "n_sampled": value}}))
            lines.append(json.dumps({**good, "at_s": 1e9 + len(lines), "machine": {"usable_cores": value}}))
            lines.append(json.dumps({**good, "at_s": 1e9 + len(lines), "shape": ["list", "int", value]}))
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(lines))
    code, out, _ = ask(capsys, "import", str(file))
    assert code == 0
    assert f"{len(History().runs(source='all')):,} rows added" in out
    assert len(History().runs(source="all")) > len(lines) / 2
    for command in (["list", "--limit", "100000"], ["show", F], ["stats"], ["show", F, "--json"]):
        shown(capsys, *command)
    History().export(tmp_path / "again.jsonl")


def test_a_time_that_no_calendar_has_is_shown(capsys):
    History().record(Run(function=F, name="late", clock_s=1.0, at_s=1e17))
    assert "late" in shown(capsys, "list")


class TestShowing:
    def test_list(self, capsys, rows):
        lines = shown(capsys, "list").splitlines()
        assert len(lines) == 4
        assert "pkg.mod.parse [f0f0f0f0]" in lines[1]
        assert "1,000  a plain loop" in lines[1]
        assert "4 processes (fork)" in lines[2]
        assert lines[2].endswith("from history surprise")
        assert lines[3].endswith("raised")

    def test_only_some(self, capsys, rows):
        assert len(shown(capsys, "list", "--limit", "1").splitlines()) == 2
        assert "raised" in shown(capsys, "list", "--limit", "1")
        assert len(shown(capsys, "list", "--source", "optimize").splitlines()) == 2
        for name in ("pkg.mod.parse", "parse", "mod.parse", "f0f0f0", F):
            assert len(shown(capsys, "list", "--function", name).splitlines()) == 3

    def test_json(self, capsys, rows):
        found = json.loads(shown(capsys, "list", "--json"))
        assert [Run.from_dict(row) for row in found] == rows
        assert json.loads(shown(capsys, "stats", "--json"))["overall"]["surprises"] == 1
        assert json.loads(shown(capsys, "show", "parse", "--json"))[0]["rows"] == 2

    def test_stats(self, capsys, rows, path):
        lines = shown(capsys, "stats").splitlines()
        assert lines[0].startswith(f"{path}: 3 rows (2 execute, 1 optimize)")
        row = next(line for line in lines if line.startswith("pkg.mod.parse"))
        assert row.split()[-9:] == ["2", "2", "50", "%", "90", "%", "50", "%", "1"]
        assert "pruned" not in lines[2]

    def test_stats_with_what_a_pruner_said(self, capsys, rows):
        told = {"pruned_s": 1.8, "pruned_interval_s": (1.5, 2.5)}
        History().record(Run(function=F, predicted_s=1.0, clock_s=2.0, extra=told))
        found = json.loads(shown(capsys, "stats", "--json"))["overall"]
        assert found["coverage"] == pytest.approx(2 / 3)
        assert (found["pruned"], round(found["pruned_median"], 3)) == (1, 0.111)
        assert "pruned: median" in shown(capsys, "stats")

    def test_show(self, capsys, rows):
        text = shown(capsys, "show", "parse")
        assert text.startswith(f"pkg.mod.parse, fingerprint {F}: 2 rows")
        assert "no row tells what its items took on a machine like this one" in text

    def test_show_what_is_known(self, capsys):
        import amorsize

        # One of four may disagree. Beside busy programs more of them do, and later ones agree.
        for _ in range(50):
            amorsize.execute(abs, range(50), backend="serial")
            if known := re.search(r"range of int: \d rows agree that an item takes", shown(capsys, "show", "abs")):
                break
        assert known

    def test_nothing_there(self, capsys, path):
        assert shown(capsys, "list") == "no runs\n"
        assert shown(capsys, "stats") == f"{path}: no runs\n"
        assert json.loads(shown(capsys, "list", "--json")) == []
        assert not path.exists()

    def test_another_file(self, capsys, rows, tmp_path):
        assert shown(capsys, "list", "--path", str(tmp_path / "other")) == "no runs\n"


class TestMoving:
    def test_there_and_back(self, capsys, rows, tmp_path):
        file, other = str(tmp_path / "rows.jsonl"), str(tmp_path / "other.sqlite")
        assert shown(capsys, "export", file) == f"3 rows written to {file}\n"
        assert shown(capsys, "import", file, "--path", other) == "3 rows added\n"
        assert shown(capsys, "import", file, "--path", other) == "0 rows added, 3 known before\n"
        assert History(other).runs() == []
        found = History(other).runs(source="import")
        assert [run.clock_s for run in found] == [2.0, 1.0, 0.5]
        assert [run.extra["from"] for run in found] == ["execute", "optimize", "execute"]

    def test_through_pipes(self, capsys, rows, tmp_path):
        assert len(shown(capsys, "export", "-").splitlines()) == 3

    def test_broken_lines_are_named_and_passed_over(self, capsys, tmp_path):
        file = tmp_path / "rows.jsonl"
        good = '{"function": "f", "backend": "serial", "clock_s": 1.0, "at_s": 1.0}'
        bad = [
            "{",
            "[1]",
            '{"clock_s": 1}',
            good.replace("1.0", '"x"', 1),
            good.replace("serial", "magic"),
            "[" * 100_000,
        ]
        file.write_text("\n".join([good, *bad, "", good.replace("1.0", "2.0", 1)]))
        code, out, err = ask(capsys, "import", str(file))
        assert (code, out) == (0, "2 rows added, 6 lines passed over\n")
        assert [int(line.split("line ")[1].split()[0]) for line in err.splitlines()] == [2, 3, 4, 5, 6, 7]

    def test_forget(self, capsys, rows):
        assert shown(capsys, "forget", "--function", "parse", "--older-than", "9000000") == "0 rows forgotten\n"
        assert shown(capsys, "forget", "--function", "parse") == "2 rows forgotten\n"
        assert shown(capsys, "forget", "--older-than", "1") == "1 row forgotten\n"
        assert shown(capsys, "forget", "--all") == "0 rows forgotten\n"

    def test_fit_says_what_it_could_learn(self, capsys, rows):
        assert "3 rows, 0 used" in shown(capsys, "fit")
        assert "the model is left alone" in shown(capsys, "fit")

    def test_forget_all_takes_what_was_learnt_along(self, capsys, path):
        from amorsize.learn import pruner
        from amorsize.learn.fit_file import fit_path

        file = fit_path(None)
        pruner.keep(file, pruner.Pruner({}))
        shown(capsys, "forget", "--older-than", "1")
        assert os.path.exists(file)
        shown(capsys, "forget", "--all")
        assert not os.path.exists(file)


class TestRefusals:
    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            ([], "COMMAND"),
            (["dance"], "invalid choice"),
            (["show"], "FUNCTION"),
            (["show", "nobody"], "no run of 'nobody' is recorded"),
            (["list", "--function", "nobody"], "no run of 'nobody'"),
            (["list", "--limit", "0"], "at least 1"),
            (["list", "--limit", "x"], "whole number"),
            (["list", "--path", ""], "must name a file"),
            (["forget"], "say what"),
            (["forget", "--older-than", "-1"], "number of days"),
            (["import", "/nowhere/rows.jsonl"], "No such file"),
            (["export", "/nowhere/rows.jsonl"], "No such file"),
        ],
        ids=str,
    )
    def test_in_one_line(self, capsys, rows, arguments, says):
        code, out, err = ask(capsys, *arguments)
        assert (code, out) == (2, "")
        assert err.startswith("amorsize: ")
        assert says in err
        assert err.count("\n") == 1

    @pytest.mark.parametrize("what", [["forget", "--all"], ["import", "x"], ["export", "x"], ["fit"]], ids=str)
    def test_history_is_off(self, capsys, monkeypatch, what):
        monkeypatch.setenv("AMORSIZE_HISTORY", "off")
        assert ask(capsys, *what)[::2] == (2, "amorsize: history is off; --path names a file\n")

from __future__ import annotations

import pytest

from benchmarks import __main__ as main
from benchmarks.workloads import REGISTRY


def test_all_rows_unless_told_otherwise():
    assert main.chosen_workloads(None) == list(REGISTRY.values())
    assert len(main.chosen_workloads(["^table$"])) == 14
    assert [each.name for each in main.chosen_workloads(["dear first"])] == ["dear first call"]


def test_the_loop_always_runs_and_first():
    assert main.chosen_contenders("^Pool$", None)[0] == ["loop", "Pool"]
    assert "loop" in main.chosen_contenders(None, "loop")[0]


def test_a_brief_run_leaves_out_who_takes_long():
    whole, brief = main.chosen_contenders(None, None)[0], main.chosen_contenders(None, None, brief=True)[0]
    assert {"ProcessPoolExecutor", "optimize + Pool"} <= set(whole)
    assert "ProcessPoolExecutor" not in brief
    assert "optimize + Pool" in brief


@pytest.mark.parametrize(("options", "partial"), [([], False), (["--brief"], False), (["--quick"], True)])
def test_only_whole_runs_go_to_the_results(options, partial):
    arguments = main.parser().parse_args(["run", *options])
    assert (main.out_path(arguments, "2030-01-31").parent != main.results_files.FOLDER) is partial


def test_targets_of_a_file_are_printed(capsys, monkeypatch):
    path = next(path for path in main.results_files.FOLDER.glob("*.json") if "after-engine" in path.name)
    monkeypatch.setattr("sys.argv", ["benchmarks", "targets", str(path)])
    assert main.main() == 0
    assert "| execute / best rival, geometric mean | ≤ 0.90 |" in capsys.readouterr().out

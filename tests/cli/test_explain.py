"""``python -m amorsize explain``: what bounds a map, what would help, and what more cores would bring."""

from __future__ import annotations

import json

import pytest

from amorsize.cli.main import main


@pytest.mark.parametrize("form", [["--json"], ["--format", "json"]])
def test_as_json(form: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "math:factorial", "--range", "600", *form]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["backend"] in ("serial", "threads", "processes")
    assert told["bound_by"]
    assert [one["cores"] for one in told["what_if"]] == [4, 8, 16, 64]
    assert {"cores", "backend", "predicted_s"} <= told["what_if"][0].keys()
    assert all({"what", "gain", "why"} == one.keys() for one in told["advice"])
    assert told["useful_cores"] >= 1


@pytest.mark.usefixtures("steady")
def test_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "math:factorial", "--range", "600"]) == 0
    told = capsys.readouterr().out
    assert "  bounded by " in told
    assert "would not pay" in told


@pytest.mark.usefixtures("steady")
def test_the_format_of_other_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["optimize", "math:factorial", "--range", "20", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["backend"] == "serial"
    assert main(["optimize", "math:factorial", "--range", "20", "--format", "table"]) == 0
    assert capsys.readouterr().out.startswith("amorsize: ")


def test_no_items(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "math:factorial", "--range", "0", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["bound_by"], told["advice"], told["what_if"]) == (None, [], [])

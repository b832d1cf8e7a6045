"""``python -m amorsize help``: the parts of the page on troubleshooting."""

from __future__ import annotations

import json
import tomllib

import pytest
from modes import ROOT
from test_docs import ONE_OF_EACH

from amorsize.cli import main as cli
from amorsize.cli.topics import topics

PAGE = ROOT / "docs/howto/troubleshooting.md"


def told(capsys, *arguments: str) -> str:
    assert cli.main(["help", *arguments]) == 0
    return capsys.readouterr().out


def test_each_part_of_the_page_is_a_topic_and_has_a_line(capsys):
    text = PAGE.read_text(encoding="utf-8")
    assert len(topics()) == text.count("\n## ") == text.count("<a id=")
    lines = told(capsys).splitlines()
    assert [line.split()[0] for line in lines] == list(topics())
    assert json.loads(told(capsys, "--json")).keys() == topics().keys()


@pytest.mark.parametrize("topic", topics())
def test_a_topic_is_text(topic, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "70")
    text = told(capsys, topic)
    title, empty, *lines = text.splitlines()
    assert (title, empty) == (topics()[topic][0], "")
    assert lines
    assert not any(mark in text for mark in ("](", "|---", "```", "<a id"))
    # Code keeps its lines.
    assert all(len(line) <= 70 or line.startswith("    ") for line in lines)
    assert json.loads(told(capsys, topic, "--json")).keys() == {"topic", "title", "text"}


@pytest.mark.parametrize("error", ONE_OF_EACH, ids=lambda error: type(error).__name__)
def test_the_command_at_the_end_of_a_message_prints_more(error, capsys):
    command = str(error).rpartition("(python -m amorsize ")[2].removesuffix(")").split()
    assert cli.main(command) == 0
    assert type(error).__name__ in capsys.readouterr().out
    assert told(capsys, type(error).__name__).startswith(topics()[command[1]][0])


def test_a_command_has_its_help(capsys):
    assert "--checkpoint-key KEY" in told(capsys, "execute")


@pytest.mark.parametrize(
    ("topic", "hint"),
    [
        ("worker-lost", "'worker-lost'. Did you mean workerlosterror?"),
        ("exceute", "'exceute'. Did you mean execute?"),
        ("qqq", "'qqq'; without TOPIC, all are listed"),
    ],
)
def test_a_topic_that_is_not_there(topic, hint, capsys):
    assert cli.main(["help", topic]) == 2
    assert capsys.readouterr().err == f"amorsize: there is no topic {hint}\n"


def test_a_wheel_holds_the_page():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert included == {str(PAGE.relative_to(ROOT)): "amorsize/troubleshooting.md"}


def test_an_installed_package_has_the_page_beside_its_modules(tmp_path, monkeypatch):
    (tmp_path / "troubleshooting.md").write_text('<a id="one"></a>\n\n## First\n\nText.\n')
    monkeypatch.setattr("amorsize.cli.topics.files", lambda package: tmp_path)
    assert topics() == {"one": ("First", "\nText.\n")}

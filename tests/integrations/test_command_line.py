"""The extra ``cli``: YAML, and completion in shells."""

from __future__ import annotations

import subprocess

import pytest

from amorsize.cli import main as cli


def test_yaml_holds_what_json_holds(capsys):
    import json

    yaml = pytest.importorskip("yaml")
    asked = ["history", "list", "--path", "off"]
    assert cli.main([*asked, "--format", "yaml"]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == []
    assert cli.main(["optimize", "math:factorial", "--range", "20", "--format", "yaml"]) == 0
    told = yaml.safe_load(capsys.readouterr().out)
    assert cli.main(["optimize", "math:factorial", "--range", "20", "--format", "json"]) == 0
    assert told.keys() == json.loads(capsys.readouterr().out).keys()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_the_shell(shell, capsys):
    pytest.importorskip("shtab")
    with pytest.raises(SystemExit) as ended:
        cli.main(["--print-completion", shell])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert all(word in told for word in ("optimize", "execute", "help", "max-failures"))
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=told, text=True, check=True)

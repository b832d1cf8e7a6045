"""The code blocks of README and docs run, as one script per page.

A page that needs other packages names them in its first lines: ``<!-- needs: pandas joblib -->``. Where one is missing,
the page is skipped.
"""

import importlib.util
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NEEDS = re.compile(r"^<!-- needs: ([\w ]+) -->$", re.MULTILINE)
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page, language):
    return [text for kind, text in BLOCK.findall(page.read_text(encoding="utf-8")) if kind == language]


def name(page):
    return page.relative_to(ROOT).as_posix()


def run(command, cwd):
    env = {**os.environ, "AMORSIZE_HISTORY": "off", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=name)
def test_python_blocks_run(page, tmp_path):
    for package in " ".join(NEEDS.findall(page.read_text(encoding="utf-8"))).split():
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks(page, "python")), encoding="utf-8")
    done = run([sys.executable, str(script)], tmp_path)
    assert done.returncode == 0, f"{page}:\n{done.stdout}\n{done.stderr}"


def commands():
    for page in PAGES:
        for block in blocks(page, "console"):
            for line in textwrap.dedent(block).splitlines():
                command = line.removeprefix("$ ").split("#")[0].strip()
                if line.startswith("$ python -m amorsize"):
                    yield pytest.param(command, id=f"{name(page)}: {command}")


@pytest.mark.parametrize("command", sorted(set(commands()), key=lambda p: p.id))
def test_commands_run(command, tmp_path):
    done = run([sys.executable, *command.split()[1:]], tmp_path)
    assert done.returncode == 0, done.stderr


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page} links to {target}"

"""The code blocks of README and docs run, as one script per page.

A page that needs other packages names them in its first lines: ``<!-- needs: pandas joblib -->``. Where one is missing,
the page is skipped. Every public attribute has a description, and every error a place in the troubleshooting.
"""

import importlib.util
import inspect
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import amorsize
from amorsize import errors, events
from amorsize.facts import Attempt, Breakdown, Forecast, Sample, Trial
from amorsize.history.run_row import Run
from amorsize.loop_facts import ItemRecord
from amorsize.plan.advice import Advice, WhatIf
from amorsize.plan.trials.race import Contender, Race

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
    # Some have time limits, and a halt of the machine may be longer: one quiet try must do.
    for _ in range(3):
        done = run([sys.executable, str(script)], tmp_path)
        if done.returncode == 0:
            return
    raise AssertionError(f"{page}:\n{done.stdout}\n{done.stderr}")


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


def test_every_error_has_a_place_in_troubleshooting():
    page = (ROOT / "docs/howto/troubleshooting.md").read_text(encoding="utf-8")
    kinds = [errors.AmorsizeError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    own = {kind.__name__ for kind in kinds[1:] if kind.__module__ == errors.__name__}
    assert {name for name in own if f'<a id="{name.lower()}"></a>' not in page} == set()


ONE_OF_EACH = [
    errors.WorkerLostError(3, signal=9),
    errors.ItemTimeoutError(3, 1.0),
    errors.TransferError("item", 3, "a lock"),
    errors.ResourceLimitError("max_seconds", 3.0, 2.0),
    errors.RemoteError("mine.Error", "why", 3),
    errors.CheckpointError("run.ckpt", "why"),
    errors.CheckpointMismatchError("run.ckpt", "why", 3),
]


def test_the_message_of_each_error_ends_with_its_place():
    kinds = {kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, errors.AmorsizeError)}
    assert kinds - {type(one) for one in ONE_OF_EACH} == {errors.AmorsizeError, errors.StopRun}
    for one in ONE_OF_EACH:
        assert str(one).endswith(f" (python -m amorsize help {type(one).__name__.lower()})")
        assert "\n" not in str(one)
    # What the user's code raises has the user's text.
    assert (str(errors.StopRun("enough")), str(errors.StopRun())) == ("enough", "")


def test_every_place_that_a_message_names_is_there():
    page = (ROOT / "docs/howto/troubleshooting.md").read_text(encoding="utf-8")
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "amorsize").rglob("*.py"))
    named = set(re.findall(r"\bsee\(['\"]([\w-]+)['\"]\)", source))
    assert {"main-module", "changed-data", "brokenprocesspool"} <= named
    named |= {one._anchor for one in ONE_OF_EACH}
    assert {anchor for anchor in named if f'<a id="{anchor}"></a>' not in page} == set()


def documented_attributes(kind):
    """Yield the names in the section Attributes of a class's docstring, and of its properties that have one."""
    for one in kind.__mro__:
        section = re.search(
            r"^Attributes\n-+\n(.*?)(?:\n\n\w+\n---|\Z)", inspect.cleandoc(one.__doc__ or ""), re.M | re.S
        )
        for line in section[1].splitlines() if section else ():
            if not line.startswith((" ", "\n")):
                yield from re.split(r",\s*", line.partition(" :")[0].strip())
        yield from (name for name, value in vars(one).items() if isinstance(value, property) and value.__doc__)


def public_attributes(kind):
    for one in kind.__mro__:
        yield from (name for name in inspect.get_annotations(one) if not name.startswith("_"))
        yield from (name for name, value in vars(one).items() if isinstance(value, property) and name[0] != "_")


RECORDS = [
    getattr(amorsize, name)
    for name in amorsize.__all__
    if inspect.isclass(getattr(amorsize, name)) and name not in ("Executor", "Pool")
]
RECORDS += [kind for kind in vars(events).values() if inspect.isclass(kind) and issubclass(kind, events.Event)]
RECORDS += [kind for kind in vars(errors).values() if inspect.isclass(kind)]
RECORDS += [Forecast, Breakdown, Sample, Trial, Attempt, ItemRecord, Advice, WhatIf, Race, Contender, Run]


@pytest.mark.parametrize("kind", dict.fromkeys(RECORDS), ids=lambda kind: kind.__name__)
def test_every_public_attribute_is_documented(kind):
    assert set(public_attributes(kind)) - set(documented_attributes(kind)) == set()

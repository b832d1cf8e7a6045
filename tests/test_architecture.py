"""The layout: few modules at the top, no import circle, and a page whose names exist."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

import amorsize

PAGE = Path(__file__).parents[1] / "docs" / "why" / "architecture.md"
TEXT = PAGE.read_text(encoding="utf-8")
TABLE = TEXT.partition("## Where to find what")[2]
ROWS = [line for line in TABLE.splitlines() if line.startswith("|")][2:]
NAMES = sorted(set(re.findall(r"`(amorsize\.[\w.]+)`", TEXT)))
MOST_MODULES = 13


def found(name: str) -> object:
    """Return the module, or the attribute of a module, that has this name."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            thing: object = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[length:]:
            thing = getattr(thing, attribute)
        return thing
    raise AssertionError(name)


def test_every_question_names_a_place():
    assert len(ROWS) >= 24
    assert all("`amorsize." in row for row in ROWS)


@pytest.mark.parametrize("name", NAMES)
def test_each_place_exists(name):
    found(name)


def test_the_fork_hooks_are_fifteen():
    files = Path(amorsize.__file__).parent.rglob("*.py")
    assert sum(file.read_text(encoding="utf-8").count("os.register_at_fork(") for file in files) == 15
    assert TEXT.count("| hook: ") == 15


def test_few_modules_stand_directly_in_the_package():
    modules = [path for path in Path(amorsize.__file__).parent.glob("*.py") if path.stem != "__init__"]
    assert len(modules) <= MOST_MODULES


def test_no_import_circle():
    grimp = pytest.importorskip("grimp")
    graph = grimp.build_graph("amorsize", exclude_type_checking_imports=True, cache_dir=None)
    left = {name: set(graph.find_modules_directly_imported_by(name)) for name in graph.modules}
    # The package itself names everything, lazily.
    left.pop("amorsize")
    while left:
        leaves = {name for name, imported in left.items() if not imported & left.keys()}
        assert leaves, f"these import each other in a circle, or what does: {sorted(left)}"
        left = {name: imported for name, imported in left.items() if name not in leaves}

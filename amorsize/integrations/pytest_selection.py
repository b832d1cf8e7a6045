"""The tests that a command line will run, as far as history knows them, before pytest has collected any.

``-n auto`` is answered before the collection. Folders, files, ids, ``--ignore``, ``--deselect``, ``-k``, ``-m``,
``--lf`` and ``--amorsize-resume`` are applied to the tests that ran before.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from amorsize.history.suite import Suite, Timing, selected
from amorsize.integrations.pytest_options import RESUME
from amorsize.model.suite import Work
from amorsize.schedule.suite_order import WHOLE_GROUPS, group_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    import pytest


class Selection:
    """The known tests of a command line.

    Attributes
    ----------
    collected : dict of str to Timing
        Tests of the named folders, files and ids: pytest imports their files.
    tests : dict of str to Timing
        Those of them that will run.
    covers : bool
        True if a known test that is not collected exists no more.
    """

    def __init__(self, config: pytest.Config, suite: Suite) -> None:
        options = vars(config.option)
        named = not options.get("pyargs")
        places = [place for each in config.args if (place := _place(config, each)) is not None] if named else []
        ignored = [place for each in options.get("ignore") or () if (place := _place(config, str(each))) is not None]
        self.collected = selected(suite.tests, places, [*ignored, *(options.get("deselect") or ())])
        narrowing = ("ignore_glob", "lf", "failedfirst", "newfirst", "stepwise", "collectonly", RESUME)
        self.covers = named and len(places) == len(config.args) and not any(options.get(each) for each in narrowing)
        self.tests = selected(self.collected, wanted=_wanted(options.get("keyword"), options.get("markexpr")))
        if options.get("lf") or options.get(RESUME):
            # Both run everything when nothing is left.
            self.tests = selected(self.tests, wanted=lambda _, known: not known.passed) or self.tests

    def work(self, dist: str) -> Work | None:
        """Return the seconds of these tests; None if none is known."""
        if not self.tests:
            return None
        undivided: dict[str, float] = {}
        for test, known in self.tests.items():
            part = group_of(test, dist) if dist in WHOLE_GROUPS and dist != "loadgroup" else test
            undivided[part] = undivided.get(part, 0.0) + known.wall_s
        return Work(
            tests=len(self.tests),
            wall_s=sum(known.wall_s for known in self.tests.values()),
            cpu_s=sum(known.cpu_s for known in self.tests.values()),
            longest_s=max(undivided.values()),
            reports=sum(known.reports for known in self.tests.values()),
        )


def _place(config: pytest.Config, argument: str) -> str | None:
    """Return the id of a folder, file or test of the command line; None if it lies outside of the root folder."""
    path, separator, name = argument.partition("::")
    try:
        full = os.path.realpath(os.path.join(config.invocation_params.dir, path))
        inside = os.path.relpath(full, os.path.realpath(config.rootpath))
    except (OSError, ValueError):
        return None
    if inside.startswith(os.pardir):
        return None
    return ("" if inside == os.curdir else inside.replace(os.sep, "/")) + separator + name


def _wanted(keyword: str | None, marks: str | None) -> Callable[[str, Timing], bool] | None:
    """Return the question that ``-k`` and ``-m`` ask of a test; None if there is none."""
    asked = [
        (expression, matches)
        for text, matches in ((keyword, _has_keyword), (marks, _has_mark))
        if text and (expression := _compiled(text)) is not None
    ]
    if not asked:
        return None

    def wanted(test: str, known: Timing) -> bool:
        try:
            return all(expression.evaluate(matches(test, known.words)) for expression, matches in asked)
        except Exception:  # noqa: BLE001  (an expression that pytest itself will refuse)
            return True

    return wanted


def _compiled(text: str) -> Any:
    """Compile an expression of ``-k`` or ``-m``; None if this pytest does so in another way, or will refuse it."""
    try:
        from _pytest.mark.expression import Expression

        return Expression.compile(text)
    except Exception:  # noqa: BLE001  (a private part of pytest)
        return None


def _has_keyword(test: str, words: tuple[str, ...]) -> Callable[..., bool]:
    lines = [test.lower(), *(word.lower() for word in words)]
    return lambda name, **_: any(name.lower() in line for line in lines)


def _has_mark(_: str, words: tuple[str, ...]) -> Callable[..., bool]:
    return lambda name, **_: name in words


def words_of(keywords: Mapping[str, object], test: str, root: str = "") -> tuple[str, ...]:
    """Return the keywords of a test that its id does not show; the name of the root folder is one of every test.

    Examples
    --------
    >>> words_of({"t[1]": 1, "a.py": 1, "slow": 1, "pytestmark": 1, "": 1}, "a.py::t[1]")
    ('slow',)
    """
    return tuple(sorted(word for word in keywords if word and word not in test and word not in ("pytestmark", root)))

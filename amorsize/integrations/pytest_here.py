"""The part of the plugin that lies where tests run: a worker of pytest-xdist, or the one process without workers.

It measures collection and tests, leaves out what has passed, orders the tests, and stops between two of them. What it
measures of a test travels with the report of its tear-down, as ``report.amorsize``.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from typing import Any

import pytest

from amorsize.integrations.pytest_meter import Brake, Meter
from amorsize.limits import Limits
from amorsize.schedule.suite_order import arranged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

KEY: Final = "amorsize"
"""Of ``workerinput`` and ``workeroutput``, and of reports."""

# pytest itself takes 0.3 to 1 ms between two tests.
GAP_S: Final = 5e-3


class Here:
    """Hooks of a process that runs tests.

    Parameters
    ----------
    config : pytest.Config
    orders : Mapping
        ``seconds`` (by test; none: leave the order as it is), ``dist``, ``workers``; ``passed`` (tests to leave out);
        ``limits``, ``deadline_s`` and ``flag`` of a `Brake`, if there are limits.

    Attributes
    ----------
    told : dict
        What is told to the process that the user started: ``collect_s``, ``narrowed`` (tests were deselected),
        ``rested`` (number of tests left out as passed), ``peak_bytes``, ``stopped`` (why).
    """

    def __init__(self, config: pytest.Config, orders: Mapping[str, Any]) -> None:
        self.config = config
        self.orders = orders
        self.told: dict[str, Any] = {}
        self._meter: Meter | None = None
        self._lap_s = 0.0
        if orders.get("limits"):
            brake = Brake(Limits(**orders["limits"]), orders["deadline_s"], orders["flag"])
            config.pluginmanager.register(_Stop(self, brake), "amorsize-stop")

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self) -> Generator[None, object, object]:
        """Measure the collection."""
        began_s = time.perf_counter()
        found = yield
        self.told["collect_s"] = time.perf_counter() - began_s
        return found

    def pytest_deselected(self) -> None:
        """Note that not every test that exists was collected."""
        self.told["narrowed"] = True

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out what has passed, and order the rest. All workers do the same, as pytest-xdist demands."""
        passed = set(self.orders.get("passed") or ())
        names = [self._plain(item.nodeid) for item in items]
        rest = [at for at, name in enumerate(names) if name not in passed]
        # When all have passed, a resumed run begins anew.
        if rest and len(rest) < len(items):
            left = set(rest)
            gone = [item for at, item in enumerate(items) if at not in left]
            items[:] = [items[at] for at in rest]
            self.config.hook.pytest_deselected(items=gone)
            self.told["rested"] = len(gone)
        if seconds := self.orders.get("seconds"):
            known = {item.nodeid: seconds[name] for item in items if (name := self._plain(item.nodeid)) in seconds}
            most = self.config.getoption("maxschedchunk", None)
            order = arranged([item.nodeid for item in items], known, self.orders["workers"], self.orders["dist"], most)
            items[:] = [items[at] for at in order]

    def pytest_collection_finish(self) -> None:
        """Begin to measure."""
        self._meter = Meter()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self) -> None:
        """Leave out what was used since the last test, if a worker has waited for this one."""
        if self._meter is not None and time.perf_counter() - self._lap_s > GAP_S:
            self._meter.lap()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Attach what the test has used to the last of its reports."""
        if report.when == "teardown" and self._meter is not None:
            setattr(report, KEY, list(self._meter.lap()))
            self._lap_s = time.perf_counter()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """Hand over what was found."""
        if self._meter is not None:
            self.told["peak_bytes"] = self._meter.peak_bytes()
        output = getattr(self.config, "workeroutput", None)
        if output is not None:
            output[KEY] = self.told

    def _plain(self, test: str) -> str:
        return plain_id(test) if self.orders.get("dist") == "loadgroup" else test


class _Stop:
    """The hook of a run with limits."""

    def __init__(self, here: Here, brake: Brake) -> None:
        self._here = here
        self._brake = brake

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, object, object]:
        """Stop after a test if a limit is reached and another test would follow."""
        done = yield
        if nextitem is not None and (why := self._brake.reason()) is not None:
            self._here.told["stopped"] = why
            item.session.shouldstop = f"amorsize: {why}"
        return done


def plain_id(test: str) -> str:
    """Return the id without the group that pytest-xdist adds for ``--dist loadgroup``.

    Examples
    --------
    >>> plain_id("a.py::t@db"), plain_id("a.py::t[x@y]")
    ('a.py::t', 'a.py::t[x@y]')
    """
    return test.rpartition("@")[0] if test.rfind("@") > max(test.rfind("]"), test.rfind("::")) else test

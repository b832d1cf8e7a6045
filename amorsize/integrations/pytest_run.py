"""The plugin proper, in the process that the user started: it answers ``-n auto``, keeps the times, and sums up.

The number of workers is decided by `amorsize.model.suite.choose`, their order of tests by
`amorsize.schedule.suite_order`; what is known of the tests lies in amorsize's history (`amorsize.history.suite`).
`amorsize.integrations.pytest_here` runs in the workers, or beside this where there are none.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from typing import Any, Final

import pytest

from amorsize.history.sqlite_file import default_store
from amorsize.history.suite import FAMILY, MOST_ROOTS, Suite, Timing, key_of, pack, unpack
from amorsize.integrations.pytest_here import KEY, Here, plain_id
from amorsize.integrations.pytest_options import MAX_MEMORY_PERCENT, MAX_SECONDS, RESUME
from amorsize.integrations.pytest_selection import Selection, words_of
from amorsize.integrations.pytest_summary import lines
from amorsize.model.suite import BOOTSTRAP_S, Choice, Start, choose, computing_cores, most_by_memory

EXIT_CODE: Final = 42
"""Of a run that a limit has stopped, as on amorsize's own command line."""

# A run that is killed has lost the outcomes of so many seconds at most. Saving 5,000 tests takes 40 ms.
SAVE_EVERY_S: Final = 10.0
# Shorter tests are not worth telling the workers; without a time a test is ordered as a short one.
TOLD_S: Final = 5e-3
# Less is not worth advice about workers.
WORTH_S: Final = 10.0
ANSWER: Final = "PYTEST_XDIST_AUTO_NUM_WORKERS"


def register(config: pytest.Config) -> None:
    """Add the hooks to this pytest."""
    config.pluginmanager.register(Run(config), "amorsize-run")


class Run:
    """Hooks of the process that the user started. A worker replaces them by `Here`."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.began_s = time.time()
        self.choice: Choice | None = None
        self.stopped: str | None = None
        self._suite: Suite | None = None
        self._here: Here | None = None
        self._orders: dict[str, Any] = {}
        self._workers = 0
        self._session_s = time.perf_counter()
        self._ready_s: float | None = None
        self._collected = 0
        self._told: list[dict[str, Any]] = []
        self._selected: list[str] = []
        self._broken = False
        self._running: dict[str, tuple[float, bool, int]] = {}
        self._ran: dict[str, Timing] = {}
        self._unsaved: dict[str, Timing] = {}
        self._saved_s = time.perf_counter()
        self._has_begun = False

    # -- before the session --------------------------------------------------------------------------------------------

    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_xdist_auto_num_workers(self, config: pytest.Config) -> int | None:
        """Answer ``-n auto``; pytest-xdist answers ``-n logical``, and if a variable of its own says how many."""
        options = config.option
        if options.numprocesses != "auto" or os.environ.get(ANSWER):
            return None
        chosen = options.dist != "no" or options.maxschedchunk is not None
        try:
            self.choice = self._choose(options.dist if chosen else "worksteal")
        except ValueError as error:
            # AMORSIZE_MAX_WORKERS is no number.
            raise pytest.UsageError(str(error)) from None
        if self.choice.workers and not chosen:
            # pytest-xdist itself would take "load".
            groups = any("xdist_group" in known.words for known in self.suite.tests.values())
            options.dist = "loadgroup" if groups else "worksteal"
        return self.choice.workers

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        """Take the part of a worker, of the one process without workers, or of the process that has workers."""
        orders = getattr(config, "workerinput", {}).get(KEY)
        if hasattr(config, "workerinput"):
            config.pluginmanager.unregister(self)
            config.pluginmanager.register(Here(config, orders or {}), "amorsize-here")
            return
        options = vars(config.option)
        self._workers = len(options.get("tx") or ()) if options.get("dist", "no") != "no" else 0
        self._orders = self._make_orders(options)
        if not self._workers:
            self._here = Here(config, self._orders)
            config.pluginmanager.register(self._here, "amorsize-here")

    @property
    def suite(self) -> Suite:
        """What history knows of this root folder; read once."""
        if self._suite is None:
            self._suite = unpack(default_store().get_cost(self._key))
        return self._suite

    @property
    def _key(self) -> str:
        return key_of(os.path.realpath(self.config.rootpath))

    def _choose(self, dist: str) -> Choice:
        from amorsize.model.memory_limit import memory_budget
        from amorsize.system.environment import max_workers_setting
        from amorsize.system.machine import lately
        from amorsize.system.memory import resident_bytes

        selection, suite, machine = Selection(self.config, self.suite), self.suite, lately()
        collect_s = (suite.collect_s or 0.0) * len(selection.collected)
        # A worker loads what this process has loaded so far.
        worker_s = suite.worker_s if suite.worker_s is not None else time.process_time() + BOOTSTRAP_S
        process_bytes = max(suite.process_bytes, resident_bytes())
        bounds = (
            most_by_memory(memory_budget(machine, None), process_bytes),
            machine.most_processes,
            max_workers_setting(),
            self.config.getoption("maxprocesses", None),
        )
        return choose(
            selection.work(dist),
            Start(worker_s=worker_s + collect_s, collect_s=collect_s),
            computing_cores(machine.usable_cores, machine.physical_cores),
            min(bound for bound in bounds if bound is not None),
        )

    def _make_orders(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return what `Here` needs to know, in types that pytest-xdist can send."""
        orders: dict[str, Any] = {"workers": self._workers, "dist": options.get("dist", "no")}
        if self._workers:
            orders["seconds"] = {
                test: known.wall_s for test, known in self.suite.tests.items() if known.wall_s >= TOLD_S
            }
            if "--loadscope-reorder" not in self.config.invocation_params.args and "loadscopereorder" in options:
                # pytest-xdist would start the groups with the most tests first.
                self.config.option.loadscopereorder = not orders["seconds"]
        if options.get(RESUME):
            orders["passed"] = [test for test, known in self.suite.tests.items() if known.passed]
        limits = {"max_seconds": options.get(MAX_SECONDS), "max_memory_percent": options.get(MAX_MEMORY_PERCENT)}
        if any(limit is not None for limit in limits.values()):
            # A name that no other user can know.
            flag = os.path.join(tempfile.gettempdir(), f"amorsize-stop-{os.urandom(8).hex()}")
            orders |= {"limits": limits, "flag": flag, "deadline_s": self.began_s + (limits["max_seconds"] or 0.0)}
        return orders

    # -- workers -------------------------------------------------------------------------------------------------------

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Give a worker its orders."""
        node.workerinput[KEY] = self._orders

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        """Note when the workers are ready, and what they will run."""
        self._collected += 1
        # A worker in the place of one that died comes later.
        if self._collected <= self._workers:
            self._ready_s = time.perf_counter() - self._session_s
        self._selected = self._selected or [self._plain(test) for test in ids]

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take what a worker tells at its end; one that was killed tells nothing."""
        output = getattr(node, "workeroutput", None)
        told = output.get(KEY) if isinstance(output, dict) else None
        if isinstance(told, dict):
            self._told.append(told)

    # -- the session ---------------------------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Note the start."""
        self._session_s = self._saved_s = time.perf_counter()

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note that a file could not be collected."""
        self._broken = self._broken or report.failed

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note what will run in this process."""
        if self._here is not None:
            self._selected = [item.nodeid for item in session.items]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add up the reports of a test."""
        test = report.nodeid
        first = report.when == "setup"
        seconds, passed, reports = (0.0, True, 0) if first else self._running.get(test, (0.0, True, 0))
        passed, reports = passed and not report.failed, reports + 1
        if not hasattr(report, "context"):
            # The seconds of a subtest are in those of its test.
            seconds += report.duration
        if report.when in ("setup", "call"):
            self._running[test] = seconds, passed, reports
            return
        self._running.pop(test, None)
        cpu_s, queued_s, raised_bytes = getattr(report, KEY, None) or (seconds, 0.0, 0)
        name = self._plain(test)
        # A test that computes in several threads uses more CPU time than time.
        wall_s = max(min(cpu_s, seconds), seconds - queued_s)
        words = words_of(report.keywords, test, self.config.rootpath.name)
        self._ran[name] = self._unsaved[name] = Timing(wall_s, cpu_s, raised_bytes, passed, words, max(3, reports))
        if time.perf_counter() - self._saved_s > SAVE_EVERY_S:
            self._save()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Save, and set the exit code of a run that a limit has stopped, or that had nothing left to resume."""
        if self._here is not None:
            self._told.append(self._here.told)
        self.stopped = next((told["stopped"] for told in self._told if told.get("stopped")), None)
        if self.stopped is not None and exitstatus != pytest.ExitCode.INTERNAL_ERROR:
            session.exitstatus = EXIT_CODE
        if (flag := self._orders.get("flag")) and os.path.exists(flag):
            os.unlink(flag)
        if (self._ran or self._selected) and not self.config.option.collectonly:
            self._save(at_end=True)

    def _save(self, *, at_end: bool = False) -> None:
        """Write what is new to the history."""
        began_s = time.perf_counter()
        news: dict[str, Any] = {"ran": self._unsaved}
        if not self._has_begun:
            news["begun"] = self._selected
        if at_end:
            news |= self._measured()

        def change(body: object) -> dict[str, Any]:
            before = unpack(body)
            # Another run may have saved tests since this one has begun.
            gone = self._gone(before) if at_end else ()
            self._suite = before.updated(**news, gone=gone)
            return pack(self._suite)

        default_store().change_cost(self._key, change, time.time(), family=FAMILY, keep=MOST_ROOTS)
        self._has_begun = True
        self._unsaved = {}
        # The file may be slow: saving must not take more than a hundredth of the time.
        now_s = time.perf_counter()
        self._saved_s = now_s + max(0.0, 100 * (now_s - began_s) - SAVE_EVERY_S)

    def _measured(self) -> dict[str, Any]:
        """Return what this run has measured of the start and of memory."""
        found: dict[str, Any] = {"process_bytes": max((told.get("peak_bytes", 0) for told in self._told), default=0)}
        collected = [told["collect_s"] for told in self._told if "collect_s" in told]
        if not collected:
            return found
        crowding = self._crowding()
        collect_s = sum(collected) / len(collected) / crowding
        if self._ready_s is not None:
            found["worker_s"] = max(0.0, self._ready_s / crowding - collect_s)
        if self._selected and not self._is_narrowed():
            found["collect_s"] = collect_s / len(self._selected)
        return found

    def _gone(self, suite: Suite) -> set[str]:
        """Return the known tests that exist no more."""
        if self._is_narrowed() or not self._selected:
            return set()
        selection = Selection(self.config, suite)
        return set(selection.collected).difference(self._selected) if selection.covers else set()

    def _is_narrowed(self) -> bool:
        """Return True if not all tests were collected that the command line names."""
        return self._broken or not self._told or any(told.get("narrowed") for told in self._told)

    def _crowding(self) -> float:
        """Return by how much workers that start at the same time slow each other down."""
        if self._workers < 2:
            return 1.0
        from amorsize.system.machine import lately

        machine = lately()
        return max(1.0, self._workers / computing_cores(machine.usable_cores, machine.physical_cores))

    def _plain(self, test: str) -> str:
        return plain_id(test) if self._orders.get("dist") == "loadgroup" else test

    # -- the summary ---------------------------------------------------------------------------------------------------

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Tell why so many workers, the slowest and the hungriest tests."""
        if self.config.option.verbose < -1 or self.config.option.collectonly:
            return
        # A forecast is one of a whole run.
        told = self.choice is not None and self.choice.is_known and self._ran.keys() >= set(self._selected)
        predicted_s = self.choice.predicted_s if self.choice is not None and told else None
        took_s = time.perf_counter() - self._session_s
        terminalreporter.write_sep("=", "amorsize")
        for line in lines(self._why(), self._ran, predicted_s, took_s):
            terminalreporter.write_line(line)

    def _why(self) -> list[str]:
        given = f"{self._workers} worker{'s' * (self._workers != 1)}" if self._workers else "no workers"
        if self.choice is not None:
            found = [self.choice.reason + (f" (--dist {self._orders['dist']})" if self._workers else "")]
        elif not self.config.pluginmanager.hasplugin("xdist"):
            found = ["no workers: pytest-xdist is not installed (pip install 'amorsize[pytest]')"]
        elif os.environ.get(ANSWER) and self._workers:
            found = [f"{given}: {ANSWER} is {os.environ[ANSWER]}"]
        else:
            found = [f"{given}, as given"]
        if not self._workers and self.choice is None and sum(one.wall_s for one in self._ran.values()) > WORTH_S:
            advice = self._choose("worksteal")
            found += [f"with -n auto: {advice.reason}"] if advice.workers else []
        if self.config.getoption(RESUME) and default_store().file is None:
            found.append("nothing is known of earlier runs: AMORSIZE_HISTORY is off")
        if rested := max((told.get("rested", 0) for told in self._told), default=0):
            found.append(f"resumed: {rested} tests have passed before and were left out")
        if self.stopped is not None:
            found.append(f"stopped after {len(self._ran)} of {len(self._selected)} tests: {self.stopped}")
            found.append("the same command with --amorsize-resume goes on with the others")
        return found

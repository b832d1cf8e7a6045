"""Runs the trials of one driver in a process of their own, watches it, and tells how to repeat what failed.

A trial is a function of a seed and an empty folder; it raises if something is wrong. After each one nothing may be
left: neither what `amorsize.testing.left_behind` sees, nor any descriptor, thread or child that was not there before,
nor any process on the machine that descends from the trial (found by a mark in its environment). The watcher holds a
trial that says nothing for `WATCHDOG_S` to be hung, prints where each thread stands, and ends all that belongs to it.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import gc
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
# guess: no trial works for more than some seconds; a busy machine may take ten times that
WATCHDOG_S = 300.0
PATIENCE_S = 60.0  # guess: for what is on its way out
MARK = "AMORSIZE_BREAKING"

Trial = Callable[[int, str], None]


class Wrong(AssertionError):
    """Something that must not be."""


def demand(is_true: object, *otherwise: object) -> None:
    if not is_true:
        raise Wrong(" ".join(map(str, otherwise)))


# -- what is left ----------------------------------------------------------------------------------------------------


def marked(mark: str | None = None) -> dict[int, str]:
    """Living processes with this mark in their environment, but for this one and multiprocessing's helpers."""
    wanted = f"{MARK}={mark or os.environ[MARK]}".encode()
    spared = {os.getpid(), *_helpers()[0]}
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdecimal() or int(name) in spared:
            continue
        with contextlib.suppress(OSError):
            if wanted in Path("/proc", name, "environ").read_bytes().split(b"\0"):
                state = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()[0]
                found[int(name)] = f"process {name} ({state}: {_command(name)})"
    return found


def _command(pid: str) -> str:
    words = Path("/proc", pid, "cmdline").read_bytes().split(b"\0")
    return b" ".join(words).decode(errors="replace")[:100]


def _helpers() -> tuple[set[int], set[int]]:
    """Process ids and descriptors of multiprocessing's resource tracker and fork server."""
    tracker, server = (sys.modules.get(f"multiprocessing.{name}") for name in ("resource_tracker", "forkserver"))
    pids, descriptors = set(), set()
    if tracker is not None:
        pids.add(tracker._resource_tracker._pid)
        descriptors.add(tracker._resource_tracker._fd)
    if server is not None:
        pids.add(server._forkserver._forkserver_pid)
        descriptors |= {server._forkserver._forkserver_alive_fd, *server._forkserver.__dict__.get("_fds", ())}
    return pids, descriptors


def descriptors() -> dict[int, str]:
    found = {}
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found[int(number)] = os.readlink(f"/proc/self/fd/{number}")
    return found


def children() -> set[int]:
    """Children of this process, reaped or not, but for multiprocessing's helpers."""
    found = set()
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError):
            found |= {int(pid) for pid in Path("/proc/self/task", task, "children").read_text().split()}
    return found - _helpers()[0]


class Before:
    """What was there before a trial; `left` says what is there now and was not."""

    def __init__(self) -> None:
        self.descriptors, self.threads, self.children = descriptors(), set(threading.enumerate()), children()
        self.threshold, self.enabled = gc.get_threshold(), gc.isenabled()
        self.handlers = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)}

    def left(self) -> list[str]:
        """What is left, after some patience; workers that are kept on purpose are sent away first."""
        until = time.monotonic() + PATIENCE_S
        while found := self._look():
            if time.monotonic() > until:
                return found
            gc.collect()
            time.sleep(0.01)
        return []

    def _look(self) -> list[str]:
        from amorsize.testing import left_behind

        if (warm := sys.modules.get("amorsize.backends.workers.warm")) is not None:
            warm.dismiss()
        found = [f"{what}: {one}" for what, some in left_behind(0.0).items() for one in some]
        spared = _helpers()[1]
        found += [
            f"descriptor {n}: {what}"
            for n, what in descriptors().items()
            if self.descriptors.get(n) != what and n not in spared
        ]
        found += [f"thread {one.name}" for one in threading.enumerate() if one not in self.threads]
        found += [f"child {pid}" for pid in children() - self.children]
        found += marked().values()
        if (gc.get_threshold(), gc.isenabled()) != (self.threshold, self.enabled):
            found.append(f"collector {gc.get_threshold()} {gc.isenabled()}")
        found += [f"handler of {n!r}" for n, handler in self.handlers.items() if signal.getsignal(n) is not handler]
        return found


# -- in the process of the trials ------------------------------------------------------------------------------------


def serve(trial: Trial, seed: int, runs: int) -> None:
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR2, all_threads=True)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def tell(kind: str, **what: Any) -> None:
        out.write(json.dumps({"kind": kind, **what}) + "\n")

    for number in range(seed, seed + runs):
        tell("begin", seed=number)
        folder = tempfile.mkdtemp(prefix="breaking-")
        before = Before()
        wrong = ""
        try:
            trial(number, folder)
        except BaseException:
            wrong = traceback.format_exc()
        left = before.left()
        shutil.rmtree(folder, ignore_errors=True)
        if wrong or left:
            tell("wrong", seed=number, text=wrong + "".join(f"left: {one}\n" for one in left))
            os._exit(3)  # what follows could fail for the same reason alone
        tell("fine", seed=number)
    tell("end")


# -- the watcher -----------------------------------------------------------------------------------------------------


class _Watched:
    """One process of trials."""

    def __init__(self, module: str, seed: int, runs: int) -> None:
        self.mark = uuid.uuid4().hex
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115
        environment = {**os.environ, MARK: self.mark, "AMORSIZE_HISTORY": "off"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.breaking", module, str(seed), str(runs)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=environment,
            cwd=ROOT,
        )

    def lines(self) -> Iterator[dict[str, Any]]:
        """What it tells; the last is ``hung`` or ``gone`` if it did not come to its end."""
        assert self.process.stdout is not None
        fd, rest = self.process.stdout.fileno(), b""
        while True:
            if not select.select([fd], [], [], WATCHDOG_S)[0]:
                with contextlib.suppress(OSError):
                    self.process.send_signal(signal.SIGUSR2)
                time.sleep(1.0)
                yield {"kind": "hung"}
                return
            if not (block := os.read(fd, 65536)):
                yield {"kind": "gone", "code": self.process.wait()}
                return
            *whole, rest = (rest + block).split(b"\n")
            for line in whole:
                yield (told := json.loads(line))
                if told["kind"] == "end":
                    return

    def close(self) -> list[str]:
        """End it with all that belongs to it: what outlived it although it had come to its end."""
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        until = time.monotonic() + PATIENCE_S
        while (left := marked(self.mark)) and time.monotonic() < until:
            time.sleep(0.02)
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return list(left.values())

    def last_words(self) -> str:
        self.errors.seek(0)
        text = self.errors.read().decode(errors="replace")
        self.errors.close()
        return text[-6000:]


def watch(module: str, seed: int, runs: int, most: int = 5) -> int:
    """Run trials, print what fails and how to repeat it; the number of failures (it stops at ``most``)."""
    failed, number, end = 0, seed, seed + runs
    while number < end and failed < most:
        watched = _Watched(module, number, end - number)
        at, wrong = number, ""
        for told in watched.lines():
            match told["kind"]:
                case "begin":
                    at = told["seed"]
                case "wrong":
                    wrong = told["text"]
                case "hung":
                    wrong = f"hung for {WATCHDOG_S:g} s"
                    watched.process.kill()
                case "gone" if not wrong:
                    wrong = f"its process ended with {told['code']}"
        left = watched.close()
        if left and not wrong.startswith("hung"):
            wrong += "".join(f"outlived its process: {one}\n" for one in left)
        number = at + 1
        words = watched.last_words()
        if wrong:
            failed += 1
            print(f"== {module}: seed {at} failed\n{wrong}\n-- its stderr\n{words}")  # noqa: T201
            print(f"-- to repeat it: python -m {module} --seed {at} --runs 1")  # noqa: T201
            sys.stdout.flush()
    print(f"{module}: {number - seed} trials from seed {seed} on, {failed} failed")  # noqa: T201
    return failed


def main(name: str, runs: int = 20) -> None:
    """Run a driver from its command line: ``--seed`` and ``--runs``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1, help="of the first trial; each next one takes the next number")
    parser.add_argument("--runs", type=int, default=runs)
    parser.add_argument("--most", type=int, default=5, help="failures to stop at")
    arguments = parser.parse_args()
    module = f"tests.breaking.{name}"
    sys.exit(min(100, watch(module, arguments.seed, arguments.runs, arguments.most)))

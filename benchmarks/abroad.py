"""Calls away from home: ``python -m benchmarks.abroad [--rounds N] [--only TEXT] [--out PATH] [TREE …]``.

Each row is a program of its own in a fresh process, as a user would run it: a first call, a main module that takes long
to import, a notebook-like process, an `Executor`. A round runs every row on every tree (a folder that holds a package
``amorsize``; by default this one) in turn, so that a busy moment hits all of them. The loop runs before and after the
call in the same process; a row's figure is the call over the mean of both, or milliseconds. Medians, and in brackets
the quartiles; beside them the target.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

from benchmarks.environment import machine_facts, versions

HERE: Final = Path(__file__).parents[1]

# Milliseconds that a first call is forgiven beside its 5 %.
FORGIVEN_MS: Final = 8.0

COMMON: Final = """
import json, sys, time
from time import perf_counter

def took(call):
    began = perf_counter()
    call()
    return (perf_counter() - began) * 1e3

def busy(ms):
    end = time.thread_time() + ms * 1e-3
    while time.thread_time() < end:
        pass

def work(ms):
    total = 0
    for i in range(int(ms * 15_000)):
        total += i
    return total
"""

FIRST: Final = """
if __name__ == "__main__":
    data = [{ms}] * {items}
    for _ in range(3):
        work(1)
    before = took(lambda: list(map(work, data)))

    def call():
        import amorsize
        assert len(amorsize.execute(work, data)) == {items}

    first = took(call)
    after = took(lambda: list(map(work, data)))
    print(json.dumps({{"loop": (before + after) / 2, "call": first}}))
"""

SLOW_MAIN: Final = """
{load}
import amorsize

def item(x):
    busy(30)
    return x

if __name__ == "__main__":
    data = list(range(40))
    before = took(lambda: list(map(item, data)))
    call = took(lambda: amorsize.execute(item, data, start_method={method!r}))
    after = took(lambda: list(map(item, data)))
    print(json.dumps({{"loop": (before + after) / 2, "call": call}}))
"""

LOADS: Final = {
    "computes": "busy({ms})",
    "sleeps": "time.sleep({ms} / 1e3)",
    "imports": "import sklearn.ensemble, scipy.stats",
}

NOTEBOOK: Final = """
import threading
import numpy as np, scipy.stats
from sklearn.linear_model import Ridge

stop = threading.Event()
threading.Thread(target=stop.wait, daemon=True).start()

def fit(seed):
    draw = np.random.default_rng(seed)
    x, y = draw.normal(size=(400, 8)), draw.normal(size=400)
    return float(sum(Ridge(alpha=a).fit(x, y).coef_[0] for a in (0.1, 1.0, 10.0)))

def plain(x):
    busy(10)
    return x

def main():
    import amorsize
    func, data = {func}, list(range({items}))
    func(0)
    before = took(lambda: list(map(func, data)))
    call = took(lambda: amorsize.execute(func, data))
    after = took(lambda: list(map(func, data)))
    print(json.dumps({{"loop": (before + after) / 2, "call": call}}))
"""

EXECUTOR: Final = """
import multiprocessing

def first():
    from amorsize import Executor
    with Executor(2, mp_context={context}) as executor:
        began = perf_counter()
        executor.submit(abs, -1).result()
        return began

if __name__ == "__main__":
    import amorsize.executor.executor, amorsize.backends.processes
    began = perf_counter()
    from amorsize import Executor
    executor = Executor(2, mp_context={context})
    assert executor.submit(abs, -1).result() == 1
    call = (perf_counter() - began) * 1e3
    executor.shutdown()
    print(json.dumps({{"call": call}}))
"""

KNOWN: Final = """
if __name__ == "__main__":
    import amorsize

    def func(x):
        return x

    def fresh():
        names = {{}}
        exec("def func(x):\\n    return x + %d" % len(seen), names)
        seen.append(1)
        return names["func"]

    seen = []
    data = [0]
    amorsize.execute(func, data)
    unknown = min(took(lambda f=fresh(): amorsize.execute(f, data)) for _ in range(200))
    for _ in range(3):
        amorsize.execute(work, [3.0] * 3)
    known = min(took(lambda: amorsize.execute(work, [0.0])) for _ in range(200))
    print(json.dumps({{"loop": unknown, "call": known}}))
"""


class Row(NamedTuple):
    """One program. ``kind``: "ratio", "first" (a ratio after `FORGIVEN_MS`), or "ms"."""

    name: str
    program: str
    kind: str
    target: float
    interactive: bool = False
    runs: int = 1


def rows() -> Iterator[Row]:
    """Yield all rows."""
    for items, ms in ((1, 0.0), (10, 0.1), (20, 1.0), (50, 1.0), (100, 0.1), (100, 1.0), (200, 0.5), (400, 0.3)):
        program = COMMON + FIRST.format(items=items, ms=ms)
        yield Row(f"first call, {items} x {ms} ms", program, "first", 1.05)
    for method in ("spawn", "forkserver"):
        for how, load in LOADS.items():
            for seconds in (0, 1, 2) if how == "computes" else (2,) if how == "sleeps" else (None,):
                text = load.format(ms=(seconds or 0) * 1000)
                program = COMMON + SLOW_MAIN.format(load=text, method=method)
                named = f"{how}" if seconds is None else f"{how} {seconds} s"
                yield Row(f"{method}, main {named}", program, "ratio", 1.12)
        program = COMMON + SLOW_MAIN.format(load="busy(1000)", method=method)
        yield Row(f"{method}, main computes 1 s, next run", program, "ratio", 1.12, runs=2)
    for func, items in (("fit", 60), ("fit", 400), ("plain", 20), ("plain", 100)):
        for interactive in (False, True):
            text = COMMON + NOTEBOOK.format(func=func, items=items)
            text += "\nmain()\n" if interactive else '\nif __name__ == "__main__":\n    main()\n'
            named = "notebook" if interactive else "script beside a thread"
            yield Row(f"{named}, {func} x {items}", text, "ratio", 1.10, interactive)
    for method, target in (("None", 60.0), ("fork", 15.0)):
        context = "None" if method == "None" else f"multiprocessing.get_context({method!r})"
        named = "by default" if method == "None" else f"by {method}"
        yield Row(f"Executor(2) {named}, first result", COMMON + EXECUTOR.format(context=context), "ms", target)
    yield Row("1 item of nothing, known / unknown", COMMON + KNOWN.format(), "ratio", 1.0)


def run(row: Row, tree: Path, folder: Path) -> float:
    """Run a row's program on a tree, in a fresh cache folder; return its figure."""
    with TemporaryDirectory(dir=folder) as cache:
        place = Path(cache, "program.py")
        place.write_text(row.program)
        setting = "off" if row.runs == 1 else str(Path(cache, "history.sqlite"))
        environment = {**os.environ, "PYTHONPATH": str(tree), "AMORSIZE_HISTORY": setting, "XDG_CACHE_HOME": cache}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        command = [sys.executable, "-c", row.program] if row.interactive else [sys.executable, str(place)]
        for _ in range(row.runs):
            done = subprocess.run(command, env=environment, cwd=cache, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    if row.kind == "ms":
        return found["call"]
    return (found["call"] - (FORGIVEN_MS if row.kind == "first" else 0.0)) / max(found["loop"], 1e-3)


def spread(values: list[float]) -> list[float]:
    """Return the quartiles; of one value, that value three times."""
    return quantiles(values, n=4) if len(values) > 1 else values * 3


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("trees", nargs="*", type=Path, default=[HERE], metavar="TREE")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="rows whose name contains this text")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    trees = [tree.resolve() for tree in options.trees]
    chosen = [row for row in rows() if options.only in row.name]
    seen: dict[str, list[list[float]]] = {row.name: [[] for _ in trees] for row in chosen}
    with TemporaryDirectory() as folder:
        # Bytecode is there from now on, as an installer would write it.
        for tree in trees:
            run(chosen[0], tree, Path(folder))
        for number in range(options.rounds):
            for row in chosen:
                for at in range(len(trees))[:: 1 if number % 2 else -1]:
                    seen[row.name][at].append(run(row, trees[at], Path(folder)))
    found: list[dict[str, Any]] = []
    for row in chosen:
        texts = []
        for at, tree in enumerate(trees):
            low, middle, high = spread(seen[row.name][at])
            texts.append(f"{middle:8.2f} [{low:.2f}-{high:.2f}]")
            found.append({"row": row.name, "tree": tree.name, "kind": row.kind, "target": row.target,
                          "median": round(median(seen[row.name][at]), 4), "values": seen[row.name][at]})  # fmt: skip
        print(f"{row.name:44} {'  '.join(texts)}   target {row.target:g}", flush=True)
    if options.out:
        result = {"machine": machine_facts(), "versions": versions(), "rounds": options.rounds, "rows": found}
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

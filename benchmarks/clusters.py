"""`execute` on executors and clusters of two workers: ``python -m benchmarks.clusters [--engines E…] [--out PATH]``.

Against it, in interleaved rounds: batches of items by hand, of several sizes; one task for each item; and the map that
the engine itself has. The forecasts of `optimize` and of `execute` are held against the clock. An engine whose package
is not installed is left out. MPI runs in a job of its own, whose rows go into the same file::

    mpiexec -n 3 python -m mpi4py.futures -m benchmarks.clusters --engines mpi --out PATH

Rows of the same engine and map replace those that the file has. ``--table PATH --into docs/howto/clusters.md`` writes
the file's rows into the page. Needs the extra ``engines``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from math import log
from pathlib import Path
from statistics import fmean, median, variance
from time import perf_counter
from typing import Any, Final, NamedTuple

os.environ.setdefault("AMORSIZE_HISTORY", "off")

import amorsize
from benchmarks.environment import machine_facts, versions
from benchmarks.functions import burn
from benchmarks.results_files import FOLDER

WORKERS: Final = 2
SIZES: Final = (10, 30, 100, 300)
# Number of items, and seconds of each.
MAPS: Final = ((3000, 0.5e-3), (4000, 1e-3))
PACKAGES: Final = {
    "process pool": "concurrent", "loky": "loky", "dask": "distributed", "ray": "ray", "parsl": "parsl",
    "mpi": "mpi4py",
}  # fmt: skip

Func = Callable[[Any], Any]
Map = Callable[[Func, Sequence[Any]], list[Any]]


def run(func: Func, part: Sequence[Any]) -> list[Any]:
    """Run a batch: what one writes by hand."""
    return [func(item) for item in part]


class Contact(NamedTuple):
    """An engine as a program without amorsize uses it.

    ``backend``: for ``execute``. ``submit(func, items)`` submits a batch, ``gather`` waits for all of them. ``own``:
    the engine's own map, which ``own_name`` names.
    """

    backend: Any
    submit: Callable[[Func, Sequence[Any]], Any]
    gather: Callable[[list[Any]], list[list[Any]]]
    own: Map
    own_name: str


def _results(futures: list[Any]) -> list[Any]:
    return [future.result() for future in futures]


def _of_executor(executor: Any, own_name: str, backend: Any = None) -> Contact:
    return Contact(
        executor if backend is None else backend,
        lambda func, part: executor.submit(run, func, part),
        _results,
        lambda func, data: list(executor.map(func, data)),
        own_name,
    )


@contextmanager
def process_pool() -> Iterator[Contact]:
    """Of the standard library."""
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(WORKERS) as executor:
        yield _of_executor(executor, "ProcessPoolExecutor.map")


@contextmanager
def loky() -> Iterator[Contact]:
    """The executor of joblib."""
    from loky import ProcessPoolExecutor

    executor = ProcessPoolExecutor(WORKERS)
    try:
        yield _of_executor(executor, "loky's map")
    finally:
        executor.shutdown()


@contextmanager
def dask() -> Iterator[Contact]:
    """A LocalCluster."""
    from distributed import Client, LocalCluster

    cluster = LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None)
    with cluster, Client(cluster) as client:
        yield Contact(
            client,
            lambda func, part: client.submit(run, func, part, pure=False),
            client.gather,
            lambda func, data: client.gather(client.map(func, data, pure=False)),
            "Client.map",
        )


@contextmanager
def ray() -> Iterator[Contact]:
    """A cluster on this machine."""
    import ray
    from ray.util.multiprocessing import Pool

    ray.init(
        num_cpus=WORKERS, include_dashboard=False, object_store_memory=200_000_000, log_to_driver=False,
        logging_level="ERROR",
    )  # fmt: skip
    task = ray.remote(run)

    def own(func: Func, data: Sequence[Any]) -> list[Any]:
        with Pool(WORKERS) as pool:
            return list(pool.map(func, data))

    try:
        yield Contact(ray, task.remote, ray.get, own, "ray.util.multiprocessing.Pool, its start included")
    finally:
        ray.shutdown()


@contextmanager
def parsl() -> Iterator[Contact]:
    """A HighThroughputExecutor, started by a card."""
    from parsl.concurrent import ParslPoolExecutor

    from amorsize.integrations import cards

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "card.yaml"
        path.write_text(f"kind: parsl\nworkers: {WORKERS}\n")
        with cards.load(path) as card:
            kernel = card["parsl"]._dfk
            pool = ParslPoolExecutor(dfk=kernel, executors=["parsl"])
            yield _of_executor(pool, "ParslPoolExecutor.map", kernel)


@contextmanager
def mpi() -> Iterator[Contact]:
    """The other ranks of this job."""
    from mpi4py.futures import MPIPoolExecutor

    with MPIPoolExecutor() as executor:
        yield _of_executor(executor, "MPIPoolExecutor.map")


ENGINES: Final = {
    "process pool": process_pool, "loky": loky, "dask": dask, "ray": ray, "parsl": parsl, "mpi": mpi,
}  # fmt: skip


def steps_of(item_s: float) -> int:
    """Return the argument of `burn` that takes so many seconds on an idle core."""
    times = []
    for _ in range(20):
        began = perf_counter()
        burn(10_000)
        times.append(perf_counter() - began)
    return max(1, int(10_000 * item_s / min(times)))


def by_hand(contact: Contact, data: Sequence[Any], size: int) -> list[Any]:
    """Run the map in batches of equal size, all submitted at once."""
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    answers = contact.gather([contact.submit(burn, part) for part in parts])
    return [result for answer in answers for result in answer]


def timed(map_: Callable[[], list[Any]], expected: int) -> float:
    """Return the seconds of one map, whose number of results is checked."""
    began = perf_counter()
    results = map_()
    took_s = perf_counter() - began
    assert len(results) == expected
    return took_s


def measure(
    name: str,
    contact: Contact,
    rounds: int,
    slow_rounds: int,
    maps: Sequence[tuple[int, float]],
    sizes: Sequence[int] = SIZES,
) -> list[Any]:
    """Return the rows of one engine, one for each map."""
    rows = []
    by_hand(contact, [1000] * 200, 10)
    amorsize.execute(burn, [1000] * 200, backend=contact.backend)
    for n, item_s in maps:
        data = [steps_of(item_s)] * n
        took: dict[str, list[float]] = {"execute": [], **{f"batches of {size}": [] for size in sizes}}
        took |= {"one task per item": [], "own map": []}
        forecasts: dict[str, list[Any]] = {"execute": [], "optimize": []}

        def ours(data: Sequence[Any] = data, forecasts: dict[str, list[Any]] = forecasts) -> list[Any]:
            results, plan = amorsize.execute(burn, data, backend=contact.backend, return_plan=True)
            forecasts["execute"].append([plan.predicted_s, plan.predicted_interval_s, plan.took_s])
            forecasts["chunksize"] = [*forecasts.get("chunksize", []), plan.chunksize]
            return results

        contenders: dict[str, Callable[[], list[Any]]] = {"execute": ours}
        for size in sizes:
            contenders[f"batches of {size}"] = lambda size=size, data=data: by_hand(contact, data, size)
        slow: dict[str, Callable[[], list[Any]]] = {
            "one task per item": lambda data=data: by_hand(contact, data, 1),
            "own map": lambda data=data: contact.own(burn, data),
        }
        for k in range(rounds):
            plan = amorsize.optimize(burn, data, backend=contact.backend)
            order = list(contenders)[:: 1 if k % 2 else -1]
            for one in order:
                took[one].append(timed(contenders[one], n))
            forecasts["optimize"].append([plan.predicted_s, plan.predicted_interval_s, took["execute"][-1]])
            for one in slow if k < slow_rounds else ():
                took[one].append(timed(slow[one], n))
        rows.append(
            {
                "engine": name,
                "items": n,
                "item_s": item_s,
                "own_map": contact.own_name,
                "load": os.getloadavg()[0],
                "took_s": took,
                **forecasts,
            }
        )
        print(line(rows[-1]), flush=True)
    return rows


HEAD: Final = """\
| engine | items | `execute` | best by hand | ratio | one task per item | the engine's own map | forecast / clock |
| --- | --- | --- | --- | --- | --- | --- | --- |"""


def line(row: Any) -> str:
    """Return a row of the table: medians, and how the forecasts of `optimize` and of `execute` did."""
    medians = {name: median(values) for name, values in row["took_s"].items() if values}
    ours = medians["execute"]
    hand_s, hand = min((value, name) for name, value in medians.items() if name.startswith("batches"))
    slow = [
        f"{medians[name]:.2f} s ({medians[name] / ours:.1f} times)" if name in medians else "–"
        for name in ("one task per item", "own map")
    ]
    told = []
    for which in ("optimize", "execute"):
        found = [one for one in row[which] if one[0] is not None]
        ratio = median(one[0] / one[2] for one in found) if found else float("nan")
        held = sum(one[1][0] <= one[2] <= one[1][1] for one in found)
        told.append(f"{which} {ratio:.2f}, {held} of {len(found)} held")
    items = f"{row['items']:,} × {row['item_s'] * 1e3:g} ms"
    cells = [row["engine"], items, f"{ours:.2f} s", f"{hand_s:.2f} s ({hand})", f"{ours / hand_s:.2f}", *slow]
    return f"| {' | '.join([*cells, '; '.join(told)])} |"


# The page has neither the column of forecasts, nor another table whose head begins so.
PAGE_TABLE: Final = re.compile(r"^\| engine \| items .*\n\| ---.*\n(?:\|.*\n)*", re.MULTILINE)


def page_table(rows: Sequence[Any]) -> str:
    """Return the table of the page: without the forecasts."""
    lines = [*HEAD.splitlines(), *map(line, rows)]
    return "".join(f"{one.removesuffix(' |').rpartition(' |')[0]} |\n" for one in lines)


def spread_of_equal_runs(rows: Sequence[Any]) -> float:
    """Return the standard deviation of the logarithm of the clock, of batches by hand of one size.

    Examples
    --------
    >>> round(spread_of_equal_runs([{"took_s": {"execute": [1.0, 9.0], "batches of 10": [1.0, 1.1, 1.21]}}]), 3)
    0.095
    """
    by_hand = [took for row in rows for name, took in row["took_s"].items() if name.startswith("batches")]
    return fmean(variance(map(log, took)) for took in by_hand) ** 0.5


def newest() -> Path:
    """Return the newest file of results of this benchmark."""
    return max(FOLDER.glob("*-clusters.json"))


def main() -> None:
    """Measure, print, and write the rows where `--out` says, beside those that are there already."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engines", nargs="*", default=[name for name in ENGINES if name != "mpi"], choices=ENGINES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slow-rounds", type=int, default=1)
    parser.add_argument("--sizes", nargs="*", type=int, default=SIZES, help="of batches by hand")
    parser.add_argument("--share", type=float, default=1.0, help="of the items")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path, help="only print the table of this file")
    parser.add_argument("--into", type=Path, help="with --table: the page whose table is replaced")
    asked = parser.parse_args()
    print(HEAD)
    if asked.table is not None:
        rows = json.loads(asked.table.read_text())["rows"]
        print(*map(line, rows), sep="\n")
        print(f"\nEqual runs by hand: {spread_of_equal_runs(rows):.2f} (`amorsize.model.engine_forecast.SPREAD`)")
        if asked.into is not None:
            page = asked.into.read_text(encoding="utf-8")
            asked.into.write_text(PAGE_TABLE.sub(lambda _: page_table(rows), page, count=1), encoding="utf-8")
        return
    for name in asked.engines:
        if find_spec(PACKAGES[name]) is None:
            print(f"{name}: {PACKAGES[name]} is not installed", file=sys.stderr)
            continue
        with ENGINES[name]() as contact:
            for n, item_s in MAPS:
                one = (int(n * asked.share), item_s)
                rows = measure(name, contact, asked.rounds, asked.slow_rounds, [one], asked.sizes)
                if asked.out is not None:
                    add(asked.out, rows)


def add(path: Path, rows: list[Any]) -> None:
    """Write rows into a file, beside those that are there already."""
    before = json.loads(path.read_text()) if path.exists() else {"rows": []}
    packages = {one: version(one) for one in PACKAGES.values() if one != "concurrent" and find_spec(one)}
    fresh = [(row["engine"], row["items"]) for row in rows]
    kept = [row for row in before["rows"] if (row["engine"], row["items"]) not in fresh]
    found = {"machine": machine_facts(), "versions": versions() | packages, "rows": [*kept, *rows]}
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

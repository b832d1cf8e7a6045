"""scikit-learn by joblib's backends and by amorsize: ``python -m benchmarks.sklearn_switch [--rounds N]``.

Each workload runs under each backend in turn, several rounds in one process; a first round, in which workers start and
warm up, does not count. Results must equal those of the loop. Promised: amorsize takes at most 10 % + 5 ms + 0.1 ms per
task longer than the best of joblib's backends, by the medians.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from joblib import Parallel, delayed, parallel_config
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.tree import DecisionTreeClassifier

import amorsize.integrations.joblib
from benchmarks import environment, results_files

BACKENDS: Final = ("sequential", "threading", "loky", amorsize.integrations.joblib.NAME)
JOBS: Final = 2
SHARE, PLUS_S, PER_TASK_S = 1.1, 5e-3, 1e-4


def square(x: int) -> int:
    return x * x


def workloads() -> dict[str, tuple[int, Callable[[], Any]]]:
    """Return workloads by name, with the number of tasks of each."""
    small, large = make_classification(300, 10, random_state=0), make_classification(10_000, 30, random_state=0)
    middle = make_classification(2000, 20, random_state=0)
    fitted = RandomForestClassifier(100, random_state=0, n_jobs=1).fit(*middle)
    linear = LogisticRegression().fit(*middle)
    fitted.set_params(n_jobs=None)
    grid = {"max_depth": [2, 4, 6, 8, 10], "min_samples_leaf": [1, 5]}
    search = GridSearchCV(DecisionTreeClassifier(random_state=0), grid, cv=3)
    tree = DecisionTreeClassifier(max_depth=8, random_state=0)
    return {
        "cross_val_score, small": (5, lambda: cross_val_score(LogisticRegression(), *small, cv=5)),
        "cross_val_score, large": (5, lambda: cross_val_score(tree, *large, cv=5)),
        "GridSearchCV": (30, lambda: search.fit(*middle).cv_results_["mean_test_score"]),
        "RandomForest.fit": (
            100,
            lambda: RandomForestClassifier(100, random_state=0).fit(*middle).feature_importances_,
        ),
        "RandomForest.predict, one row": (100, lambda: fitted.predict_proba(middle[0][:1])),
        "permutation_importance": (
            20,
            lambda: permutation_importance(linear, *middle, n_repeats=20, random_state=0).importances_mean,
        ),
        "1,000 tasks that do nothing": (1000, lambda: np.array(Parallel()(delayed(square)(i) for i in range(1000)))),
    }


def seconds(work: Callable[[], Any], backend: str, expected: Any) -> float:
    """Run a workload under a backend; check its results."""
    began_s = time.perf_counter()
    with parallel_config(backend, n_jobs=JOBS):
        found = work()
    took_s = time.perf_counter() - began_s
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    return took_s


def row(n_tasks: int, work: Callable[[], Any], rounds: int) -> dict[str, Any]:
    """Measure a workload under all backends, by turns."""
    expected = work()
    times: dict[str, list[float]] = {backend: [] for backend in BACKENDS}
    for number in range(rounds + 1):
        for backend in BACKENDS if number % 2 else reversed(BACKENDS):
            took_s = seconds(work, backend, expected)
            times[backend] += [took_s] if number else []
    median_s = {backend: statistics.median(took) for backend, took in times.items()}
    *rivals, ours = BACKENDS
    best_s = min(median_s[rival] for rival in rivals)
    most_s = SHARE * best_s + PLUS_S + PER_TASK_S * n_tasks
    return {
        "tasks": n_tasks,
        "median_s": median_s,
        "seconds": times,
        "most_s": most_s,
        "kept": median_s[ours] <= most_s,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    started, found = datetime.now(UTC), {}
    print(f"{'milliseconds':32}" + "".join(f"{backend:>12}" for backend in BACKENDS) + f"{'at most':>12}")
    for name, (n_tasks, work) in workloads().items():
        if re.search(arguments.only, name):
            found[name] = one = row(n_tasks, work, arguments.rounds)
            figures = [one["median_s"][backend] for backend in BACKENDS]
            print(
                f"{name:32}" + "".join(f"{1e3 * took:12.1f}" for took in [*figures, one["most_s"]]),
                "" if one["kept"] else "  *",
            )
    result = {
        "started": started.isoformat(timespec="seconds"),
        "machine": environment.machine_facts(),
        "versions": environment.versions(),
        "commit": environment.commit(),
        "jobs": JOBS,
        "rounds": arguments.rounds,
        "workloads": found,
    }
    stem = f"{environment.file_stem(started.date().isoformat())}-sklearn-switch"
    path = arguments.out or results_files.free_path(results_files.FOLDER, stem)
    results_files.write(path, result)
    print(json.dumps({"file": path.name}))


if __name__ == "__main__":
    main()

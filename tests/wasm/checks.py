"""What must hold where there are neither processes nor threads: CPython as WebAssembly, run by ``make test-wasm``."""

from __future__ import annotations

import sys
import time
import traceback
import warnings

N = 300


def burn(n: int) -> int:
    """Compute for a while."""
    total = 0
    for i in range(n):
        total += i
    return total


def refuse(n: int) -> int:
    """Raise."""
    raise ValueError(n)


def raises(kind: type[BaseException], text: str, call) -> None:
    """Fail unless the call raises this, with this text."""
    said = f"no {kind.__name__}"
    try:
        call()
    except kind as exc:
        said = str(exc)
    assert text in said, said


def check_import_loads_little():
    import amorsize

    assert amorsize.__version__
    assert not {"numpy", "multiprocessing", "sqlite3"} & set(sys.modules)


def check_machine():
    import amorsize

    here = amorsize.machine()
    assert here.system == "Emscripten"
    assert here.usable_cores == 1
    assert here.start_methods == ()


def check_execute():
    import amorsize

    data = [2_000 + i for i in range(N)]
    assert amorsize.execute(burn, data) == list(map(burn, data))
    assert amorsize.execute(burn, iter(data)) == list(map(burn, data))
    assert amorsize.execute(abs, []) == []
    results, plan = amorsize.execute(burn, data, return_plan=True)
    assert results == list(map(burn, data))
    assert plan.backend == "serial"
    assert plan.took_s > 0


def check_execute_waiting_items():
    import amorsize

    assert amorsize.execute(time.sleep, [0.005] * 40) == [None] * 40


def check_failures():
    import amorsize

    raises(ValueError, "7", lambda: amorsize.execute(refuse, [7]))
    assert isinstance(amorsize.execute(refuse, [7], on_error="collect", retries=1)[0], amorsize.Failure)


def check_stream():
    import itertools

    import amorsize

    assert list(amorsize.stream(burn, range(N))) == list(map(burn, range(N)))
    endless = amorsize.stream(burn, itertools.count())
    assert [next(endless) for _ in range(5)] == [burn(i) for i in range(5)]
    endless.close()


def check_optimize():
    import amorsize

    for data in ([2_000] * N, iter([2_000] * N), range(N)):
        plan = amorsize.optimize(burn, data)
        assert plan.backend == "serial", plan
        assert "not measured" not in plan.explain(), plan.explain()
    with plan.pool() as pool:
        assert pool.map(burn, plan.data) == list(map(burn, range(N)))
    assert plan.took_s > 0
    assert amorsize.optimize(burn, range(N), backend=("serial", "processes")).backend == "serial"


def check_what_needs_processes_says_so():
    import amorsize

    raises(ValueError, "backend: no process", lambda: amorsize.execute(burn, range(N), backend="processes"))
    raises(ValueError, "timeout: needs worker processes", lambda: amorsize.execute(burn, range(N), timeout=1.0))
    raises(ValueError, "start_method:", lambda: amorsize.execute(burn, range(N), start_method="fork"))


def check_threads_become_the_loop():
    import amorsize

    assert amorsize.execute(burn, range(N), backend="threads") == list(map(burn, range(N)))


def check_checkpoint_and_history():
    import amorsize

    for _ in range(2):
        assert amorsize.execute(burn, range(N), checkpoint="/tmp/checkpoint") == list(map(burn, range(N)))
    amorsize.execute(burn, range(N))
    assert amorsize.History().runs()


def check_tune_and_validate():
    import amorsize

    assert amorsize.tune(burn, [5_000] * 50, max_seconds=0.5).backend == "serial"
    assert amorsize.validate(burn, [5_000] * 50, max_seconds=0.5).n_used > 0


def main() -> int:
    """Run all checks; return the exit status."""
    warnings.simplefilter("ignore", RuntimeWarning)
    checks = [(name, check) for name, check in globals().items() if name.startswith("check_")]
    failed = 0
    for name, check in checks:
        try:
            check()
        except BaseException:
            failed += 1
            print(f"{name} FAILED under {sys.version.split()[0]}, {sys.platform}")
            traceback.print_exc(file=sys.stdout)
    print(f"{len(checks) - failed} passed, {failed} failed")
    return int(failed > 0)

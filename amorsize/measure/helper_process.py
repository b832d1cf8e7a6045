"""The helper process, which measures processes in place of the user's own.

The user's process must not start workers for a measurement that the user did not ask for:

* a child started by spawn or forkserver would run the user's main script again (without end, if it lacks the usual
  guard), and import all that it imports;
* a child forked while the caller has other threads may hang, and Python 3.12 warns;
* a measurement that hangs would hang the user's process.

So a bare interpreter is started (60-80 ms, most of it imports), measures, and writes a line of JSON for each job. It
leads a process group, so that after `PATIENCE_S` it can be ended with all its children. (Not a session: Linux would
schedule that apart from the caller's, and another program would disturb the two unequally.)

Starts from the caller cost more: by its memory (`amorsize.measure.start_cost`), and by the imports of its main script,
which spawned children repeat. The latter are not measured.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from amorsize.system import belongings
from amorsize.system.critical import held_signals

# Overhead before the helper's first job and after its last.
HELPER_S: Final = 0.08
# guess: with a cold disk each interpreter can take a second
PATIENCE_S: Final = 10.0
# guess: a killed process ends at once, but for one that waits for a disk
REAP_S: Final = 10.0

# Begins each line of the helper's: imported modules may print, too.
MARK: Final = "amorsize:"

Job = Mapping[str, Any]


def cost_job(engine: str, start_method: str, cores: float, budget_s: float) -> Job:
    """Return the job that measures an engine of processes."""
    return {"kind": "cost", "engine": engine, "method": start_method, "cores": cores, "budget_s": budget_s}


def scaling_job(start_method: str, cores: float, physical_cores: int, budget_s: float) -> Job:
    """Return the job that measures the scaling curve."""
    return {"kind": "scaling", "method": start_method, "cores": cores, "physical": physical_cores, "budget_s": budget_s}


# -- in the helper ---------------------------------------------------------------------------------------------------


def serve(jobs: Sequence[Job]) -> None:
    """Run the jobs and write a line for each."""
    import json

    for job in jobs:
        sys.stdout.write(f"\n{MARK}{json.dumps(_do(job))}\n")
        sys.stdout.flush()


def _do(job: Job) -> dict[str, Any]:
    from amorsize.measure.cost_cache import to_dict
    from amorsize.measure.scaling import measure_scaling
    from amorsize.measure.start_cost import measure

    try:
        if job["kind"] == "cost":
            return to_dict(measure(job["engine"], job["method"], job["cores"], job["budget_s"]))
        return to_dict(measure_scaling(job["method"], job["cores"], job["physical"], job["budget_s"]))
    except Exception as exc:  # noqa: BLE001  (the caller says why, and goes on with recorded costs)
        return {"error": f"{type(exc).__name__}: {exc}"}


# -- in the caller ---------------------------------------------------------------------------------------------------


def in_helper(jobs: Sequence[Job], patience_s: float = PATIENCE_S) -> list[dict[str, Any]]:
    """Run these jobs in a helper process.

    Returns
    -------
    list of dict
        One answer for each job, in order: a row for `amorsize.measure.cost_cache`, or ``{"error": why}``.

    Raises
    ------
    OSError
        The helper cannot be started.
    """
    code = (
        f"import sys; sys.path[:] = {[one for one in sys.path if isinstance(one, str)]!r}; "
        f"from amorsize.measure.helper_process import serve; serve({[dict(job) for job in jobs]!r})"
    )
    helper: subprocess.Popen[bytes] | None = None
    why = "the helper process ended"
    try:
        with held_signals():
            helper = subprocess.Popen(
                [_interpreter(), "-c", code],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                process_group=0 if os.name == "posix" else None,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
            belongings.started(helper.pid, "helper that measures")
        output, _ = helper.communicate(timeout=patience_s)
    except subprocess.TimeoutExpired:
        assert helper is not None
        why = f"measuring took longer than {patience_s:g} s"
        _kill(helper)
        output, _ = helper.communicate()
    finally:
        if helper is not None:
            _end(helper)
    return [*answers(output), *[{"error": why}] * len(jobs)][: len(jobs)]


def answers(output: bytes) -> list[dict[str, Any]]:
    r"""Return the answers in the helper's output, up to the first incomplete line.

    Examples
    --------
    >>> answers(b'Hello!\n\namorsize:{"error": "a"}\namorsize:{"err')
    [{'error': 'a'}]
    """
    import json

    found: list[dict[str, Any]] = []
    for line in output.decode("utf-8", "replace").splitlines():
        if line.startswith(MARK):
            try:
                answer = json.loads(line.removeprefix(MARK))
            except ValueError:
                break
            found.append(answer if isinstance(answer, dict) else {"error": "an answer that nobody understands"})
    return found


def _interpreter() -> str:
    """Return the interpreter that children run. Raises FileNotFoundError if it is unknown.

    In an application that embeds or freezes Python, ``sys.executable`` is that application.
    """
    from multiprocessing.spawn import get_executable

    path = os.fsdecode(get_executable() or b"")
    name = os.path.basename(path).lower()
    if getattr(sys, "frozen", False) or not ("python" in name or "pypy" in name):
        raise FileNotFoundError(f"no interpreter is known here, only {path or 'nothing'}")
    return path


def _end(helper: subprocess.Popen[bytes]) -> None:
    """End the helper with its children, and reap it."""
    with held_signals():
        _kill(helper)
        assert helper.stdout is not None
        helper.stdout.close()
        try:
            helper.wait(REAP_S)
        except subprocess.TimeoutExpired:
            return
        belongings.reaped(helper.pid)


def _kill(helper: subprocess.Popen[bytes]) -> None:
    """Kill the helper with its children, unless it has ended."""
    if helper.poll() is not None:
        return
    try:
        if hasattr(os, "killpg"):
            os.killpg(helper.pid, signal.SIGKILL)
        else:
            helper.kill()
    except ProcessLookupError:
        return

"""joblib's own tests of `joblib.Parallel`, with amorsize among its backends: ``AMORSIZE_LONG=1`` runs them."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import lanes
import pytest

pytest.importorskip("joblib")

# A worker of loky imports what a task needs and nothing else, so that there the name "amorsize" is unknown.
CANNOT_APPLY = {"test_nested_loop[loky-amorsize]", "test_nested_loop[back_compat_backend-amorsize]"}
LEAST = 90


@pytest.mark.skipif(not lanes.is_long(), reason="takes a minute; AMORSIZE_LONG=1 runs it")
def test_joblibs_own_tests(tmp_path):
    """Those of our name, and of our class's object (joblib gives it the number of its place)."""
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-p", "amorsize.integrations.joblib"]
    command += ["--pyargs", "joblib.test.test_parallel", "-k", "amorsize or backend10"]
    path = os.pathsep.join(one for one in sys.path if one)
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    found = dict(re.findall(r"::(\S+\]) (PASSED|FAILED|ERROR|SKIPPED)", done.stdout))
    failed = {name for name, what in found.items() if what != "PASSED"}
    assert len(found) >= LEAST, done.stdout[-2000:]
    assert failed <= CANNOT_APPLY, done.stdout[-5000:]

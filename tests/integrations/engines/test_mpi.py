"""``backend=`` an MPIPoolExecutor: a program under mpiexec, with two ranks that work."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mpi4py")

PROGRAM = """
import pathlib, sys, tempfile
from mpi4py.futures import MPIPoolExecutor
from engine_contract import CHECKS, square
import amorsize

if __name__ == "__main__":
    with MPIPoolExecutor() as pool:
        for check in CHECKS:
            check(pool, pathlib.Path(tempfile.mkdtemp(dir=sys.argv[1])))
        assert amorsize.execute(square, range(50), backend=pool, return_plan=True)[1].n_jobs == 2
    print("well")
"""


def test_contract(tmp_path):
    folder = Path(sys.executable).parent
    mpiexec = shutil.which("mpiexec", path=f"{folder}{os.pathsep}{os.environ['PATH']}")
    if mpiexec is None:
        pytest.skip("no mpiexec here")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    here = Path(__file__).parents[2]
    paths = [str(here.parent), str(here / "helpers"), os.environ.get("PYTHONPATH", "")]
    ran = subprocess.run(
        [
            mpiexec,
            "--allow-run-as-root",
            "--oversubscribe",
            "-n",
            "3",
            sys.executable,
            "-m",
            "mpi4py.futures",
            program,
            tmp_path,
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.stdout.strip().endswith("well"), ran.stdout + ran.stderr

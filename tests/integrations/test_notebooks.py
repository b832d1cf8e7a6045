"""The notebooks of examples/ run from top to bottom, each in a kernel of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = [ROOT / "examples" / name for name in ("quick_start.ipynb", "reading_a_plan.ipynb")]
# Apart from the tests: a client of Jupyter leaves sockets open.
EXECUTE = "import sys; from nbclient.cli import main; main(sys.argv[1:])"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_the_notebook_runs(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert any("assert" in "".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")

    env = {**os.environ, "AMORSIZE_HISTORY": "off", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", EXECUTE, "--timeout=120", str(path)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

"""The error about a package that is missing: one, without a chain, which names the extra."""

from __future__ import annotations

import subprocess
import sys

import pytest

from amorsize.hints import Needs


@pytest.mark.parametrize(
    ("module", "missing", "extra"),
    [
        ("integrations.cards", "yaml", "cards"),
        ("integrations.joblib", "joblib", "joblib"),
        ("integrations.pandas", "pandas", "pandas"),
        ("integrations.prometheus", "prometheus_client", "prometheus"),
        ("integrations.rich", "rich", "rich"),
        ("integrations.tqdm", "tqdm", "progress"),
        ("plan.drawing as drawing; drawing.new_figure(1, 1)", "matplotlib", "plot"),
    ],
)
def test_a_missing_package_is_one_error_that_names_the_extra(module, missing, extra):
    program = f"import sys; sys.modules[{missing!r}] = None; import amorsize.{module}"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.stderr.count("Traceback") == 1
    assert ran.stderr.strip().endswith(f"which is not installed. Run: pip install 'amorsize[{extra}]'")


def test_a_package_that_cannot_be_loaded_keeps_its_error():
    with pytest.raises(ModuleNotFoundError) as caught, Needs("plot()", "matplotlib", "plot"):
        raise ModuleNotFoundError("No module named 'numpy'", name="numpy")
    assert caught.value.name == "numpy"

"""The package as users install it: sdist, wheel, metadata, and README's first example in a fresh environment."""

import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("build")
pytest.importorskip("twine")

ROOT = Path(__file__).resolve().parents[2]


def run(*command, cwd):
    # Without PYTHONPATH, which would let the checkout stand in for what is installed.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"AMORSIZE_HISTORY": "off"}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Build the sdist from the tree, and the wheel from the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT, cwd=folder)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


def test_metadata_can_be_published(built):
    run(sys.executable, "-m", "twine", "check", "--strict", *built, cwd=ROOT)


def test_the_wheel_holds_every_module_and_nothing_else(built):
    with zipfile.ZipFile(built[1]) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert "amorsize/py.typed" in held
    # The page that `python -m amorsize help` prints from.
    assert held - {"amorsize/troubleshooting.md"} == {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "amorsize").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert "amorsize/troubleshooting.md" in held


def test_the_sdist_holds_all_that_its_pages_link_to(built):
    with tarfile.open(built[0]) as sdist:
        held = {name.partition("/")[2] for name in sdist.getnames()}
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        assert page.relative_to(ROOT).as_posix() in held
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            linked = (page.parent / target).resolve()
            assert linked.is_dir() or linked.relative_to(ROOT).as_posix() in held, f"{page} links to {target}"


def test_readmes_first_example_runs_from_the_wheel(built, tmp_path):
    venv.create(tmp_path / "fresh", with_pip=True)
    python = tmp_path / "fresh" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    run(*pip, "--no-compile", built[1], cwd=tmp_path)
    place = run(python, "-c", "import amorsize; print(amorsize.__file__)", cwd=tmp_path).strip()
    assert Path(place).is_relative_to(tmp_path / "fresh")

    example = re.search(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    (tmp_path / "example.py").write_text(example[1], encoding="utf-8")
    assert "amorsize" in run(python, "example.py", cwd=tmp_path)

    version = re.search(r"amorsize-([\d.]+)-", built[1].name)[1]
    for how in ([python, "-m", "amorsize"], [python.parent / "amorsize"]):
        assert version in run(*how, "--version", cwd=tmp_path)
    # The errors about missing extras say `pip install 'amorsize[...]'`: pip finds their packages beside the wheel.
    run(*pip, "--dry-run", "amorsize[plot]", cwd=tmp_path)

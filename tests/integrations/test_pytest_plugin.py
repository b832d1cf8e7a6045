"""The plugin of pytest, in real runs of pytest with and without pytest-xdist."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from amorsize.history.sqlite_file import Store
from amorsize.history.suite import FAMILY, Suite, Timing, key_of, pack, unpack
from amorsize.integrations.pytest import NAME, is_asked
from amorsize.integrations.pytest_meter import MEMORY_EVERY_S, Brake, Meter
from amorsize.integrations.pytest_run import Run
from amorsize.limits import Limits

pytest.importorskip("xdist")

ROOT = Path(__file__).resolve().parents[2]
ASK = ("-p", NAME)
FIRST_LOADED = {"amorsize", "amorsize.integrations", NAME, f"{NAME}_options", "amorsize.system"}
FIRST_LOADED |= {"amorsize.system.environment"}
TWO = "def test_one(): pass\ndef test_two(): pass\ndef test_three(): pass\n"


class Project:
    """A folder with tests, its history, and what a run of pytest in it says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "project"
        self.folder.mkdir()
        self.write("pytest.ini", "[pytest]\n")
        self.history = folder / "history.sqlite"
        self.key = key_of(os.path.realpath(self.folder))
        # As an installer writes it.
        told = folder / "site" / "amorsize-0.1.0.dist-info"
        told.mkdir(parents=True)
        (told / "METADATA").write_text("Metadata-Version: 2.1\nName: amorsize\nVersion: 0.1.0\n")
        (told / "entry_points.txt").write_text(f"[pytest11]\n{NAME} = {NAME}\n")
        self.site = told.parent

    def write(self, name: str, text: str) -> None:
        (self.folder / name).parent.mkdir(exist_ok=True)
        (self.folder / name).write_text(text)

    def run(self, *options: str, status: int = 0, **variables: str) -> str:
        ours = ("PYTEST", "AMORSIZE", "PYTHON_CPU", "LOKY", "SLURM", "COV")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        environment |= {
            "PYTHONPATH": os.pathsep.join((str(self.site), str(ROOT))),
            "AMORSIZE_HISTORY": str(self.history),
            **variables,
        }
        quick = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest")
        command = [sys.executable, "-m", "pytest", *quick, *options]
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    def suite(self) -> Suite:
        return unpack(Store(self.history).get_cost(self.key))

    def passed(self) -> set[str]:
        return {test for test, known in self.suite().tests.items() if known.passed}

    def know(self, tests: dict[str, Timing], **values: float) -> None:
        suite = Suite().updated(tests, **values)
        Store(self.history).change_cost(self.key, lambda _: pack(suite), 1.0, family=FAMILY, keep=9)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def waits(*tests: str) -> dict[str, Timing]:
    """Tests that are said to have waited for a minute each, so that workers pay on any machine."""
    return {test: Timing(60.0) for test in tests}


# -- when it acts ----------------------------------------------------------------------------------------------------


def test_it_is_registered_and_does_nothing_until_it_is_asked(project):
    project.write(
        "test_a.py",
        "import sys\n"
        "def test_loaded(request):\n"
        f"    assert request.config.pluginmanager.hasplugin({NAME!r})\n"
        "    ours = {name for name in sys.modules if name.startswith('amorsize')}\n"
        f"    assert ours == {FIRST_LOADED!r}\n",
    )
    assert "= amorsize =" not in project.run()
    assert not project.history.exists()


@pytest.mark.parametrize(
    ("options", "variables"),
    [
        (ASK, {}),
        ((), {"AMORSIZE_PYTEST": "1"}),
        ((), {"PYTEST_PLUGINS": NAME}),
        (("--amorsize-max-seconds", "1000"), {}),
        (("--amorsize-resume",), {}),
    ],
)
def test_ways_to_ask(project, options, variables):
    project.write("test_a.py", TWO)
    assert "= amorsize =" in project.run(*options, **variables)
    assert project.passed() == {"test_a.py::test_one", "test_a.py::test_two", "test_a.py::test_three"}


def test_not_asked():
    assert not is_asked({"plugins": ["no:" + NAME, "xdist"], "amorsize_resume": False})
    assert is_asked({}, f"other,{NAME}")


@pytest.mark.parametrize(
    ("options", "variables", "name"),
    [
        (("--amorsize-max-seconds", "0"), {}, "max_seconds"),
        (("--amorsize-max-memory-percent", "101"), {}, "max_memory_percent"),
        (("--amorsize-max-seconds", "soon"), {}, "amorsize-max-seconds"),
        ((), {"AMORSIZE_PYTEST": "perhaps"}, "AMORSIZE_PYTEST"),
        (("-n", "auto", *ASK), {"AMORSIZE_MAX_WORKERS": "many"}, "AMORSIZE_MAX_WORKERS"),
    ],
)
def test_wrong_values_are_refused_by_name(project, options, variables, name):
    project.write("test_a.py", TWO)
    said = project.run(*options, status=4, **variables)
    assert name in said
    assert "Traceback" not in said


# -- the number of workers -------------------------------------------------------------------------------------------


def test_workers_for_known_tests_that_wait_and_the_slowest_group_first(project):
    for name in "ab":
        project.write(f"test_{name}.py", TWO)
    project.write(
        "conftest.py",
        "import os\n"
        "def pytest_collection_finish(session):\n"
        "    name = os.environ.get('PYTEST_XDIST_WORKER', 'none') + '.order'\n"
        "    open(name, 'w').write(' '.join(item.nodeid for item in session.items))\n",
    )
    project.know(waits("test_a.py::test_one", *(f"test_b.py::test_{name}" for name in ("one", "two", "three"))))
    said = project.run(*ASK, "-n", "auto", "--maxprocesses", "2", "-v")
    assert "scheduling tests via WorkStealingScheduling" in said
    assert "2 workers: 4 tests take" in said
    assert "forecast" in said
    orders = {path.read_text() for path in project.folder.glob("gw*.order")}
    (order,) = (each.split() for each in orders)
    assert len(order) == 6
    # Four minutes, two for each worker; each begins with a slow test.
    slow = waits("test_a.py::test_one", *(f"test_b.py::test_{name}" for name in ("one", "two", "three"))).keys()
    for block in (order[:3], order[3:]):
        assert len(slow & set(block)) == 2
        assert block[0] in slow


@pytest.mark.parametrize(
    ("tests", "variables", "options"),
    [
        ({"test_a.py::test_one": Timing(0.001, 0.001)}, {}, ()),
        ({}, {"PYTHON_CPU_COUNT": "1"}, ()),
        ({}, {"PYTHON_CPU_COUNT": "1", "AMORSIZE_HISTORY": "off"}, ()),
        (waits("test_a.py::test_one", "test_a.py::test_two"), {}, ("--maxprocesses", "1")),
        (waits("test_a.py::test_one", "test_a.py::test_two"), {"AMORSIZE_MAX_WORKERS": "1"}, ()),
        (waits("test_a.py::test_one", "test_b.py::test_two"), {}, ("test_a.py",)),
        (waits("test_a.py::test_one", "test_a.py::test_two"), {}, ("-k", "two")),
        (waits("test_a.py::test_one", "test_a.py::test_two"), {}, ("--deselect", "test_a.py::test_one")),
    ],
    ids=["short", "one core", "history off", "maxprocesses", "MAX_WORKERS", "one file", "-k", "--deselect"],
)
def test_no_worker_where_workers_do_not_pay(project, tests, variables, options):
    project.write("test_a.py", TWO)
    project.know(tests)
    said = project.run(*ASK, "-n", "auto", *options, **variables)
    assert "bringing up" not in said
    assert "\nno workers" in said


def test_a_variable_of_xdist_is_the_users_word(project):
    project.write("test_a.py", TWO)
    said = project.run(*ASK, "-n", "auto", PYTEST_XDIST_AUTO_NUM_WORKERS="2")
    assert "2 workers: PYTEST_XDIST_AUTO_NUM_WORKERS is 2" in said


def test_the_users_distribution_stays_and_groups_are_respected(project):
    project.write(
        "test_a.py",
        "import pytest\n@pytest.mark.xdist_group('db')\ndef test_one(): pass\n"
        "@pytest.mark.xdist_group('db')\ndef test_two(): pass\ndef test_three(): pass\n",
    )
    ids = {f"test_a.py::test_{name}" for name in ("one", "two", "three")}
    project.know({test: Timing(60.0, words=("xdist_group",)) for test in ids})
    assert "(--dist load)" in project.run(*ASK, "-n", "auto", "--maxprocesses", "2", "--dist", "load")
    assert "(--dist loadgroup)" in project.run(*ASK, "-n", "auto", "--maxprocesses", "2")
    assert set(project.suite().tests) == ids


# -- limits and resuming ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_limit_stops_in_order_and_the_rest_is_resumed(project, workers):
    names = [f"test_{at}" for at in range(40)]
    project.write("test_a.py", "\n".join(f"def {name}(): pass" for name in names))
    said = project.run("--amorsize-max-seconds", "0.000001", "-n", workers, status=42)
    assert "--amorsize-max-seconds" in said
    first = project.passed()
    assert 1 <= len(first) <= 2
    said = project.run("--amorsize-resume", "-n", workers)
    assert f"{40 - len(first)} passed" in said
    assert f"resumed: {len(first)} tests" in said
    # Nothing is left: it begins anew.
    assert "40 passed" in project.run("--amorsize-resume", "-n", workers)


def test_memory_is_a_limit_too(project):
    project.write("test_a.py", TWO)
    assert "% of the memory" in project.run("--amorsize-max-memory-percent", "0.0001", status=42)


def test_a_limit_at_the_last_test_stops_nothing(project):
    project.write("test_a.py", "def test_one(): pass\n")
    assert "1 passed" in project.run("--amorsize-max-seconds", "0.000001")


def test_what_fails_is_run_again_and_what_is_gone_is_forgotten(project):
    project.write("test_a.py", TWO + "def test_bad(): assert 0\n")
    project.write("test_b.py", TWO)
    project.run(*ASK, status=1)
    assert len(project.passed()) == 6
    said = project.run("--amorsize-resume", status=1)
    assert "1 failed" in said
    assert "passed" not in said.splitlines()[-1].replace("deselected", "")
    # A file that cannot be collected has not lost its tests.
    project.write("test_b.py", "import nothing_of_this_name")
    project.run(*ASK, status=2)
    assert len(project.suite().tests) == 7
    (project.folder / "test_b.py").unlink()
    project.write("test_a.py", TWO)
    project.run(*ASK, "-n", "2")
    assert set(project.suite().tests) == {f"test_a.py::test_{name}" for name in ("one", "two", "three")}


def test_a_worker_that_dies_costs_its_test_only(project):
    project.write("test_a.py", TWO + "def test_dies():\n    import os\n    os._exit(3)\n")
    said = project.run(*ASK, "-n", "2", status=1)
    assert "crashed" in said
    assert len(project.passed()) == 3
    assert "test_a.py::test_dies" in project.suite().tests


# -- what is measured ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", ["0", "2"])
def test_the_slowest_and_the_hungriest_are_named(project, workers):
    project.write(
        "test_a.py",
        TWO + "def test_eats(): assert len(bytearray(200_000_000)) > 1\n"
        "def test_waits():\n    import time\n    time.sleep(0.3)\n",
    )
    said = project.run(*ASK, "-n", workers)
    (slow, *_), (hungry, *_) = (
        [line for line in said.splitlines() if line.startswith(word)] for word in ("slow", "hung")
    )
    assert slow.endswith(("test_a.py::test_waits", "test_a.py::test_eats"))
    assert hungry.endswith("test_a.py::test_eats")
    known = project.suite().tests["test_a.py::test_waits"]
    assert known.wall_s > known.cpu_s + 0.1


def test_seconds_of_subtests_are_those_of_their_test():
    run = Run(SimpleNamespace(rootpath=Path("root")))
    steps = [("setup", 0.25), ("call", 0.5), ("call", 0.5), ("call", 2.0), ("teardown", 0.25)]
    for at, (when, seconds) in enumerate(steps):
        report = SimpleNamespace(nodeid="a.py::t", when=when, duration=seconds, failed=False, keywords={"a.py": 1})
        if at in (1, 2):
            # As pytest's subtests and pytest-subtests report them.
            report.context, report.failed = "a subtest", at == 2
        run.pytest_runtest_logreport(report)
    assert run._ran == {"a.py::t": Timing(2.5, 2.5, 0, False, (), 5)}


def test_reports_stay_as_other_plugins_know_them(project):
    project.write("test_a.py", TWO)
    project.run(*ASK, "-n", "2", "--junitxml", "report.xml")
    text = (project.folder / "report.xml").read_text()
    assert text.count("<testcase") == 3
    assert "amorsize" not in text


def test_the_brake_compares_memory_four_times_a_second_and_tells_the_others(tmp_path):
    now, readings = [100.0], []

    def memory():
        readings.append(now[0])
        return (10, 100) if now[0] > 101 else (90, 100)

    flag = str(tmp_path / "flag")
    limits = Limits(max_seconds=50, max_memory_percent=80)
    one, other = (Brake(limits, 150.0, flag, now=lambda: now[0], memory=memory) for _ in range(2))
    for _ in range(10):
        assert one.reason() is None
        now[0] += MEMORY_EVERY_S / 5
    assert len(readings) == 2
    # A clock that is set back stops no looking.
    now[0] = 50.0
    assert one.reason() is None
    assert len(readings) == 3
    now[0] = 102.0
    assert "90.0 % of the memory" in one.reason()
    now[0] = 50.0
    assert "90.0 % of the memory" in other.reason()


def test_the_deadline_is_a_time_of_day(tmp_path):
    brake = Brake(Limits(max_seconds=5), 105.0, str(tmp_path / "no folder" / "flag"), now=iter([104.9, 105.0]).__next__)
    assert brake.reason() is None
    assert "5 s have passed" in brake.reason()


def test_the_meter_reads_what_was_used():
    meter = Meter()
    assert sum(range(300_000)) > 0
    used = meter.lap()
    assert used.cpu_s > 0
    assert min(used) >= 0
    assert meter.lap().cpu_s < 10
    assert meter.peak_bytes() >= 0

"""Cards: what `load` refuses, and the workers of ``kind: local``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import BrokenExecutor, Future
from functools import partial

import psutil
import pytest
from engine_contract import CHECKS, LOSSES, name_of, square
from hypothesis import given, settings
from hypothesis import strategies as st

import amorsize
from amorsize.backends import remote
from amorsize.backends.engines import Engine
from amorsize.backends.shipping import Parcels
from amorsize.errors import ItemTimeoutError

yaml = pytest.importorskip("yaml")

from amorsize.integrations import card_schema, cards  # noqa: E402
from amorsize.integrations.card_labels import Labels  # noqa: E402
from amorsize.integrations.card_workers import Workers  # noqa: E402
from tests.conftest import PATIENCE_S, descendants  # noqa: E402

TWO = """\
kind: local
executors:
  f64: {workers: 1, env: {KIND: "64"}, worker_init: "export MORE=$KIND-more"}
  f32:
    workers: 1
    env: {KIND: "32"}
route: tests.integrations.test_cards:label_of
"""


def label_of(item):
    """Return a label for whatever item."""
    return ("f64", "f32", None)[len(repr(item)) % 3]


def by_number(item):
    return {0: "f64", 1: "f32", 2: None, 3: "f16"}[item]


def environment(item):
    return item, os.environ["KIND"], os.environ.get("MORE")


def variable(name, _):
    return os.environ[name]


def optimisation(_):
    return sys.flags.optimize


def say(item):
    sys.stdout.write(f"said {item}\n")
    return item


@pytest.fixture
def card_of(tmp_path, monkeypatch):
    """Return a function that writes a card and loads it."""

    def load(text, *overrides):
        path = tmp_path / "card.yaml"
        path.write_text(text)
        return cards.load(path, set=overrides)

    monkeypatch.syspath_prepend(os.getcwd())
    return load


# -- reading ----------------------------------------------------------------------------------------------------------

WRONG = {
    "an unknown key": ("kind: local\nworker: 2\n", r"card.yaml, line 2: worker: .*allowed are .*did you mean workers"),
    "a key of a label": (
        "kind: local\nexecutors:\n  a:\n    wokers: 2\n",
        r"line 4: executors.a.wokers: .*did you mean workers",
    ),
    "a key of another kind": ("kind: local\naddress: tcp://x\n", r"line 2: address: .*of kind dask, ray"),
    "a key of the top in a label": ("kind: local\nexecutors:\n  a: {route: x}\n", r"line 3: .*top of a card"),
    "no kind": ("workers: 2\n", r"line 1: kind: is missing; allowed are parsl, dask, ray, mpi, executor, local"),
    "a wrong kind": ("kind: locl\n", r"line 1: kind: 'locl' .*allowed are .*did you mean local"),
    "a kind that is no text": ("kind: 3\n", r"line 1: kind: must be text"),
    "no whole number": ("kind: local\nworkers: two\n", r"line 2: workers: must be a whole number, 1 or more"),
    "a truth value": ("kind: local\nworkers: yes\n", r"line 2: workers: must be a whole number"),
    "nothing to work with": ("kind: local\nworkers: 0\n", r"line 2: workers: must be a whole number"),
    "a fraction": ("kind: local\nworkers: 1.5\n", r"line 2: workers: must be a whole number"),
    "a number in the environment": (
        "kind: local\nenv:\n  A: x\n  B: 1\n",
        r"line 4: env.B: must be text, not '1' \(int\): quote it",
    ),
    "a truth value in the environment": ("kind: local\nenv: {A: on}\n", r"line 2: env.A: must be text.*quote it"),
    "nothing in the environment": ("kind: local\nenv: {A: }\n", r"line 2: env.A: must be text"),
    "a list": ("kind: local\nenv: [a]\n", r"line 2: env: must be a mapping of keys to values, not a list"),
    "a label that is a number": ("kind: local\nexecutors:\n  64: {}\n", r"line 3: executors.64: .*quote it"),
    "a label with a slash": ("kind: local\nexecutors:\n  a/b: {}\n", r"line 3: executors.a/b: a label"),
    "a label of Parsl's own": ("kind: local\nexecutors:\n  _parsl_internal: {}\n", r"line 3: .*a label"),
    "no label": ("kind: local\nexecutors: {}\n", r"line 2: executors: needs one label"),
    "a label twice": ("kind: local\nexecutors:\n  a: {}\n  a: {}\n", r"line 4: executors.a: .*twice, .*line 3"),
    "no module": ("kind: local\nroute: no.such:thing\n", r"line 2: route: there is no module 'no'"),
    "no function": ("kind: local\nroute: os.path:nothing\n", r"line 2: route: .* has no 'nothing'"),
    "no callable": ("kind: local\nroute: os:sep\n", r"line 2: route: .*cannot be called"),
    "no names": ("kind: local\nroute: 'a b:c'\n", r"line 2: route: must be module:name"),
    "no factory": ("kind: executor\nworkers: 2\n", r"line 1: kind: executor needs `factory:"),
    "an argument that the factory lacks": (
        "kind: executor\nfactory: concurrent.futures:ThreadPoolExecutor\noptions:\n  threads: 2\n",
        r"line 4: options.threads: is no argument of ThreadPoolExecutor; allowed are .*thread_name_prefix",
    ),
    "an argument that another key stands for": (
        "kind: executor\nfactory: concurrent.futures:ThreadPoolExecutor\noptions: {max_workers: 2}\n",
        r"line 3: options.max_workers: the card has workers for it",
    ),
    "no YAML": ("kind: local\n  a: [\n", r"card.yaml, line \d: is no YAML"),
    "a control character": ("kind: \x01\n", r"card.yaml: is no YAML"),
    "a text": ("local\n", r"line 1: the card: must be a mapping"),
    "nothing": ("# empty\n", r"card.yaml: is empty"),
    "a merge of a text": ("kind: local\n<<: 3\n", r"line 1: the card: .*merging"),
}


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_refused_with_its_line(case, card_of):
    text, message = case
    with pytest.raises(ValueError, match=message):
        card_of(text)


WRONG_OVERRIDES = {
    "workers": "must be KEY=VALUE",
    "=2": "must be KEY=VALUE",
    "executors..workers=2": "must be KEY=VALUE",
    "executors.f64.workers=two": r"set 'executors.f64.workers=two': executors.f64.workers: must be a whole number",
    "executors.f16.workers=2": r"executors.f16: is no label of the card; its labels are f64, f32",
    "executors.f64.worker=2": r"set 'executors.f64.worker=2': executors.f64.worker: .*did you mean workers",
    "kind=nothing": r"set 'kind=nothing': kind: 'nothing' is no kind",
    "kind.a=1": r"kind: must be a mapping",
    "workers=[": r"set 'workers=\[': is no YAML",
}


@pytest.mark.parametrize("override", WRONG_OVERRIDES)
def test_a_wrong_override_is_refused(override, card_of):
    with pytest.raises(ValueError, match=WRONG_OVERRIDES[override]):
        card_of(TWO, override)


def test_overrides_win_and_those_of_the_environment_are_text(card_of, tmp_path):
    card = card_of(TWO, "executors.f64.workers=3", "executors.f64.env.X=1", "env.ALL=on", "executors.f32.env.KIND=a=b")
    card.write(tmp_path / "resolved.yaml")
    resolved = yaml.safe_load((tmp_path / "resolved.yaml").read_text())
    assert resolved["executors"] == {
        "f64": {"workers": 3, "env": {"ALL": "on", "KIND": "64", "X": "1"}, "worker_init": "export MORE=$KIND-more"},
        "f32": {"workers": 1, "env": {"ALL": "on", "KIND": "a=b"}},
    }
    assert cards.load(tmp_path / "resolved.yaml")._settings == card._settings


def test_a_time_is_no_number(card_of):
    card = card_of("kind: local\nprovider: {name: slurm, walltime: 04:00:00}\n")
    assert card._settings.executors[0].provider["walltime"] == "04:00:00"
    assert card_of("kind: local\n", "provider.walltime=04:00:00")._settings.executors[0].provider == {
        "walltime": "04:00:00"
    }


def test_a_card_may_repeat_its_parts(card_of):
    card = card_of("kind: local\nexecutors:\n  a: &a {workers: 2, env: {A: b}}\n  b:\n    <<: *a\n    workers: 1\n")
    assert [(one.workers, one.env) for one in card._settings.executors] == [(2, {"A": "b"}), (1, {"A": "b"})]


words = st.text(st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=("Cs", "Cc")), max_size=8)
names = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,6}", fullmatch=True)


@settings(deadline=None, max_examples=40)
@given(
    executors=st.dictionaries(
        names,
        st.fixed_dictionaries(
            {}, optional={"workers": st.integers(1, 99), "env": st.dictionaries(names, words), "worker_init": words}
        ),
        min_size=1,
    ),
    env=st.dictionaries(names, words, max_size=2),
)
def test_a_written_card_reads_the_same(executors, env):
    text = yaml.safe_dump({"kind": "local", "env": env, "executors": executors})
    found = card_schema.read(text, "card")
    assert card_schema.read(card_schema.written(found), "again") == found
    for one in found.executors:
        assert one.env == env | executors[one.label].get("env", {})


def test_a_missing_engine_is_named_at_once(card_of, monkeypatch):
    monkeypatch.setattr(card_schema, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'amorsize\[parsl\]'"):
        card_of("kind: parsl\n")


def test_without_yaml_the_extra_is_named():
    program = "import sys; sys.modules['yaml'] = None; import amorsize.integrations.cards"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.stderr.strip().endswith("pip install 'amorsize[cards]'")


def test_what_is_no_text_in_utf_8_is_refused(tmp_path):
    (tmp_path / "card.yaml").write_bytes(b"kind: \xff\n")
    with pytest.raises(ValueError, match=r"card.yaml: is no text in UTF-8"):
        cards.load(tmp_path / "card.yaml")
    with pytest.raises(FileNotFoundError):
        cards.load(tmp_path / "none.yaml")


def test_a_card_that_is_not_open_says_so(card_of):
    card = card_of(TWO)
    with pytest.raises(ValueError, match=r"backend: the card is not open: use `with"):
        amorsize.execute(square, range(4), backend=card)
    with pytest.raises(ValueError, match=r"not open"):
        card["f64"]
    with pytest.raises(KeyError, match=r"its labels are f64, f32"):
        card["f16"]


# -- kind: local ------------------------------------------------------------------------------------------------------


@pytest.fixture
def two(card_of):
    with card_of(TWO) as card:
        yield card


@pytest.fixture
def one(card_of):
    with card_of("kind: local\nworkers: 2\n") as card:
        yield card


@pytest.mark.parametrize("check", [*CHECKS, *LOSSES], ids=name_of)
def test_contract_with_two_labels(check, two, tmp_path):
    check(two, tmp_path)


@pytest.mark.parametrize("check", [*CHECKS, *LOSSES], ids=name_of)
def test_contract_with_one_label(check, one, tmp_path):
    check(one, tmp_path)


def test_each_item_has_the_environment_of_its_label(two):
    data = [*range(130), "text", (1, 2), None]
    results, plan = amorsize.execute(environment, data, backend=two, return_plan=True)
    assert plan.n_jobs == 2
    for item, result in zip(data, results, strict=True):
        assert result == (item, "32", None) if label_of(item) == "f32" else (item, "64", "64-more")
    assert list(amorsize.stream(environment, iter(data), backend=two)) == results


def test_a_label_can_be_used_alone(two):
    assert amorsize.execute(environment, range(4), backend=two["f32"]) == [(x, "32", None) for x in range(4)]


def test_the_environment_is_there_before_the_interpreter(card_of):
    with card_of("kind: local\nworkers: 1\nenv: {PYTHONOPTIMIZE: '2'}\n") as card:
        assert amorsize.execute(optimisation, range(3), backend=card) == [2, 2, 2]


def test_the_start_up_can_neither_read_tasks_nor_write_answers(card_of):
    with card_of("kind: local\nworkers: 1\nworker_init: |\n  echo noise\n  cat\n  read X\n  export A=b\n") as card:
        assert amorsize.execute(partial(variable, "A"), range(3), backend=card) == ["b", "b", "b"]


def test_what_workers_print_goes_to_the_callers_output(card_of, capfd):
    with card_of("kind: local\nworkers: 1\n") as card:
        amorsize.execute(say, range(3), backend=card)
    assert [line for line in capfd.readouterr().out.splitlines() if line] == ["said 0", "said 1", "said 2"]


@pytest.mark.parametrize("start_up", ["worker_init: exit 3", "env: {PYTHONHOME: /nowhere}"])
def test_workers_that_cannot_start_are_an_error(start_up, card_of):
    with card_of(f"kind: local\nworkers: 2\n{start_up}\n") as card, pytest.raises(BrokenExecutor) as caught:
        amorsize.execute(square, range(40), backend=card)
    assert "a worker of 'local' has not started" in str(caught.value)
    assert "exit code" in str(caught.value)


def test_a_wrong_route_ends_the_run_and_names_the_item(card_of):
    with card_of(TWO, "route=tests.integrations.test_cards:by_number") as card:
        assert amorsize.execute(environment, [1, 2, 0], backend=card)[1] == (2, "64", "64-more")
        with pytest.raises(ValueError, match=r"route: 'f16' is no label of the card \(f64, f32\), for 3"):
            amorsize.execute(square, [0, 1, 2, 3], backend=card)
        with pytest.raises(ValueError, match=r"route: raised KeyError: 9, for 9"):
            amorsize.execute(square, [9], backend=card, on_error="collect")


def test_a_route_may_be_a_key_of_the_item(card_of):
    data = [{"wants": "f32"}, {"wants": "f64"}, {"other": 1}]
    with card_of(TWO, "route=wants") as card:
        assert [kind for _, kind, _ in amorsize.execute(environment, data, backend=card)] == ["32", "64", "64"]


def test_without_a_route_the_first_label_has_all(card_of):
    with card_of(TWO, "route=") as card:
        assert {kind for _, kind, _ in amorsize.execute(environment, range(20), backend=card)} == {"64"}


def test_the_resolved_card_lies_in_the_run_dir(card_of, tmp_path):
    with card_of(f"kind: local\nrun_dir: {tmp_path / 'runs'}\n", "workers=1") as card:
        assert cards.load(tmp_path / "runs" / "card.yaml")._settings == card._settings


def test_any_executor(card_of):
    text = "kind: executor\nfactory: concurrent.futures:ThreadPoolExecutor\nworkers: 2\n"
    with card_of(text) as card:
        assert amorsize.execute(square, range(50), backend=card) == [x * x for x in range(50)]
        pool = card["executor"]
    with pytest.raises(RuntimeError):
        pool.submit(square, 1)


def stuck(item):
    if item == 3:
        time.sleep(600)
    return environment(item)


def test_a_late_item_is_ended_alone_whatever_its_label(two):
    data = range(12)
    before = amorsize.execute(environment, data, backend=two)
    got = amorsize.execute(stuck, data, backend=two, timeout=1.0, on_error="collect")
    assert isinstance(got[3].exception, ItemTimeoutError)
    assert got[:3] + got[4:] == before[:3] + before[4:]
    # Another worker has taken the place of the one that was ended.
    assert amorsize.execute(environment, data, backend=two) == before


def test_a_time_limit_is_refused_with_the_reason_where_no_task_can_be_ended(card_of):
    card = card_of("kind: executor\nfactory: concurrent.futures:ThreadPoolExecutor\nworkers: 2\n")
    with card, pytest.raises(ValueError, match=r"timeout: .*cannot"):
        amorsize.execute(square, range(5), backend=card, timeout=1)


def test_a_task_that_does_not_run_cannot_be_ended():
    workers = Workers("one", 1, {})
    try:
        future = workers.submit(abs, -1)
        assert future.result() == 1
        workers.end(future)
        assert workers.runs_for_s(future) is None
        assert workers.submit(abs, -2).result() == 2
    finally:
        workers.shutdown()


def test_an_open_card_cannot_be_opened_again(two):
    with pytest.raises(RuntimeError, match="open already"), two:
        pass
    assert amorsize.execute(square, [2], backend=two) == [4]


def test_nothing_is_left_though_a_task_runs():
    before = descendants()
    with Workers("all", 1, {}) as workers:
        running, waiting = (workers.submit(time.sleep, 600) for _ in range(2))
        deadline = time.monotonic() + PATIENCE_S
        while not running.running():
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert running.exception() is not None
    assert isinstance(waiting.exception(), BrokenExecutor)
    _, alive = psutil.wait_procs(descendants() - before, timeout=PATIENCE_S)
    assert not alive
    with pytest.raises(BrokenExecutor, match="shut down"):
        workers.submit(abs, 1)


def test_workers_run_whatever_can_be_pickled():
    with Workers("all", 1, {"A": "b"}) as workers:
        assert workers.submit(os.getenv, "A").result() == "b"
        assert list(workers.map(abs, range(5))) == [0, 1, 2, 3, 4]
        assert isinstance(workers.submit(int, "x").exception(), ValueError)
        assert workers.submit(threading.Lock).exception() is not None
        assert workers.submit(abs, threading.Lock()).exception() is not None
        assert workers.submit(abs, -3).result() == 3


# -- on the command line ----------------------------------------------------------------------------------------------

FUNCTIONS = """
import os

def kind(number):
    return number, os.environ["KIND"]

def label_of(number):
    return "f32" if number % 2 else "f64"

def inverse(number):
    return 1 / number
"""


@pytest.fixture
def command(tmp_path):
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    (tmp_path / "card.yaml").write_text(TWO.replace("tests.integrations.test_cards", "functions"))
    path = os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])

    def run(*arguments):
        command = [sys.executable, "-m", "amorsize", *arguments]
        env = os.environ | {"PYTHONPATH": path, "AMORSIZE_HISTORY": "off"}
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env, check=False)

    return run


def test_a_card_on_the_command_line(command):
    ran = command(
        "execute", "functions:kind", "--range", "6", "--engine", "card.yaml", "--set", "executors.f32.env.KIND=1"
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == [repr((number, "1" if number % 2 else "64")) for number in range(6)]
    ran = command("execute", "functions:inverse", "--range", "6", "--engine", "card.yaml")
    assert ran.returncode == 1
    assert "ZeroDivisionError" in ran.stderr


def test_a_plan_for_a_card_on_the_command_line(command):
    ran = command("optimize", "functions:kind", "--range", "60", "--engine", "card.yaml", "--json")
    assert ran.returncode == 0, ran.stderr
    plan = json.loads(ran.stdout)
    assert (plan["backend"], plan["n_jobs"] <= 2, plan["predicted_s"] > 0) == ("executor", True, True)
    ran = command("optimize", "functions:kind", "--range", "60", "--engine", "card.yaml", "--on", "server.json")
    assert (ran.returncode, ran.stderr.startswith("amorsize: --on: is another machine")) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--engine", "card.yaml", "--set", "kind=lokal"), "amorsize: set 'kind=lokal': kind: 'lokal' is no kind"),
        (("--engine", "none.yaml"), "amorsize: --engine none.yaml: No such file or directory"),
        (("--set", "kind=local"), "amorsize: --set: is for a card"),
        (("--engine", "card.yaml", "--backend", "threads"), "amorsize: --backend: the card says"),
    ],
)
def test_wrong_use_on_the_command_line_is_one_line(arguments, message, command):
    ran = command("execute", "functions:kind", "--range", "6", *arguments)
    assert ran.returncode == 2
    assert ran.stderr.startswith(message)
    assert ran.stderr.count("\n") == 1


# -- one answer of several labels -------------------------------------------------------------------------------------


class Here(Engine):
    """Runs tasks at once; answers that it does not know a function until it is sent with a task for the second time."""

    lazy = near = False

    def __init__(self, forgets):
        super().__init__(None)
        self.forgets = forgets
        self.ran = []

    def places(self):
        return 1

    def submit(self, *task):
        future = Future()
        if self.forgets:
            self.forgets -= 1
            future.set_result(("missing",))
        else:
            future.set_result(remote.run(*task))
            self.ran.append(task)
        return future


def fail_at(bad, item):
    if item in bad:
        raise ValueError(item)
    return -item


@settings(deadline=None, max_examples=60)
@given(
    where=st.lists(st.integers(0, 2), min_size=1, max_size=12),
    bad=st.sets(st.integers(0, 11)),
    keep_going=st.booleans(),
    forgets=st.lists(st.integers(0, 1), min_size=3, max_size=3),
    start=st.integers(0, 5),
)
def test_labels_answer_as_one_engine_would(where, bad, keep_going, forgets, start):
    engines = {str(number): Here(forgets[number]) for number in range(3)}
    labels = Labels(None, engines, lambda item: str(where[item]))
    # A share that ended before its time would have the others' items run again.
    limit_s = 1e-9 if len({*where}) > 1 else None
    parcels = Parcels(partial(fail_at, bad), False, print)
    items = range(len(where))
    sealed = labels.seal(items, parcels.items)
    for _ in range(4):
        answer = labels.result(labels.submit(parcels.key, parcels.func(), sealed, start, keep_going, limit_s))
        if answer[0] == "done":
            break
    kind, results, errors, *_ = answer
    assert kind == "done"
    results = list(remote._loads(results) if type(results) is tuple else results)
    failing = [start + item for item in items if item in bad]
    assert results == [None if item in bad else -item for item in items][: len(results)]
    seen = [index for index, *_ in errors]
    assert seen == [index for index in failing if index < start + len(results)]
    if keep_going or not failing:
        assert len(results) == len(items)
    else:
        assert seen[0] == failing[0]
    # Each item has run once, though a function had to be sent again.
    assert sum(len(engine.ran) for engine in engines.values()) == len({*where})

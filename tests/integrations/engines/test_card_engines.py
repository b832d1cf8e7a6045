"""Cards whose engines are clusters: the same card, and the same results, as with ``kind: local``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import amorsize

pytest.importorskip("yaml")

from amorsize.integrations import cards

TWO = """\
kind: local
workers: 1
env: {SHARED: both}
executors:
  f64: {env: {KIND: "64"}, worker_init: "export MORE=$KIND-more"}
  f32: {env: {KIND: "32"}}
route: wants
"""
DATA = [{"wants": ("f64", "f32", None)[number % 3], "number": number} for number in range(200)]


def seen(item):
    return item["number"], os.environ["KIND"], os.environ["SHARED"], os.environ.get("MORE")


def expected(more):
    kinds = {"f64": "64", "f32": "32", None: "64"}
    return [(one["number"], kinds[one["wants"]], "both", more if one["wants"] != "f32" else None) for one in DATA]


@pytest.fixture
def card_of(tmp_path):
    def load(text, *overrides):
        path = tmp_path / "card.yaml"
        path.write_text(text)
        return cards.load(path, set=overrides)

    return load


def test_parsl_and_local_give_the_same(card_of, tmp_path):
    pytest.importorskip("parsl")
    with card_of(TWO, "kind=parsl", f"run_dir={tmp_path / 'runs'}") as card:
        results, plan = amorsize.execute(seen, DATA, backend=card, return_plan=True)
        assert plan.n_jobs == 2
        assert amorsize.execute(seen, DATA[:3], backend=card["f32"])[0][1] == "32"
    with card_of(TWO) as card:
        assert amorsize.execute(seen, DATA, backend=card) == results == expected("64-more")
    assert not Path("runinfo").exists()
    assert "kind: parsl" in (tmp_path / "runs" / "card.yaml").read_text()


def test_arguments_that_parsl_does_not_have_are_refused(card_of):
    pytest.importorskip("parsl")
    for text, message in (
        ("provider: {name: slrm}", r"line 2: provider.name: 'slrm' .*allowed are local, .*did you mean slurm"),
        ("provider: {name: slurm, waltime: 1}", r"line 2: provider.waltime: .*SlurmProvider.*did you mean walltime"),
        ("provider: {worker_init: a}", r"line 2: provider.worker_init: the card has worker_init"),
        ("options: {heartbeat: 1}", r"line 2: options.heartbeat: is no argument of HighThroughputExecutor"),
    ):
        with pytest.raises(ValueError, match=message):
            card_of(f"kind: parsl\n{text}\n")
    card_of("kind: parsl\nprovider: {name: slurm, partition: cpu}\nexecutors: {a: {provider: {walltime: 04:00:00}}}\n")


def test_dask(card_of):
    pytest.importorskip("distributed")
    with card_of(TWO.replace(', worker_init: "export MORE=$KIND-more"', ""), "kind=dask") as card:
        assert amorsize.execute(seen, DATA, backend=card) == expected(None)
    assert "KIND" not in os.environ


def test_ray(card_of):
    pytest.importorskip("ray")
    text = "kind: ray\nworkers: 2\nenv: {KIND: '64', SHARED: both}\noptions: {log_to_driver: false}\n"
    with card_of(text) as card:
        results = amorsize.execute(seen, DATA, backend=card, timeout=60)
        assert {result[1:] for result in results} == {("64", "both", None)}
    with pytest.raises(ValueError, match=r"line 2: executors: kind: ray has one set of workers"):
        card_of("kind: ray\nexecutors: {a: {}, b: {}}\n")


def test_mpi_is_checked(card_of):
    pytest.importorskip("mpi4py")
    assert card_of("kind: mpi\nworkers: 2\nenv: {A: b}\n").labels == ("mpi",)
    with pytest.raises(ValueError, match=r"line 2: options.max_workers: the card has workers for it"):
        card_of("kind: mpi\noptions: {max_workers: 2}\n")


def test_any_executor_of_another_package(card_of):
    pytest.importorskip("loky")
    with card_of("kind: executor\nfactory: loky:ProcessPoolExecutor\nworkers: 2\n") as card:
        assert amorsize.execute(abs, range(-50, 0), backend=card) == [*range(50, 0, -1)]

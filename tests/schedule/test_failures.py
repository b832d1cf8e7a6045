"""One rule for repeats: the schedule, the plain loop and the coroutines repeat an item equally often."""

import asyncio

import pytest

import amorsize
from amorsize.backends.loop import Loop
from amorsize.backends.results import Outcome
from amorsize.backends.source import source_of
from amorsize.errors import RemoteError
from amorsize.schedule.failures import MAX_LOSSES, Repeats, after_error, after_loss, at_fault, covers
from amorsize.schedule.messages import Done, Fail, Lost, Ready, Running, Send, Span, Start, Tick
from amorsize.schedule.schedule import Schedule


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_an_error_or_a_timeout_repeats_an_item_as_often_as_allowed(retries):
    for exc in (None, ValueError()):
        found = [after_error(tries, retries, exc) for tries in range(1, retries + 3)]
        assert found == [True] * retries + [False, False]


@pytest.mark.parametrize("fatal", [SystemExit, KeyboardInterrupt, asyncio.CancelledError])
def test_what_is_no_exception_is_never_repeated(fatal):
    assert after_error(1, 9, ValueError())
    assert not after_error(1, 9, fatal())


def test_an_item_is_repeated_only_after_the_kinds_that_are_named():
    assert after_error(1, 1, ConnectionResetError(), OSError)
    assert not after_error(1, 1, ValueError(), OSError)
    assert after_error(1, 1, KeyError(), (OSError, LookupError))
    assert not after_error(1, 1, ValueError(), ())
    assert not after_error(1, 1, SystemExit(), (BaseException, SystemExit))


def test_the_class_itself_counts_and_not_what_it_says():
    class Lies(Exception):
        __class__ = OSError

    class Meta(type):
        def __instancecheck__(cls, instance):
            raise AssertionError("user code")

        __subclasscheck__ = __instancecheck__

    class Named(Exception, metaclass=Meta):
        pass

    assert not covers(Lies(), OSError)
    assert covers(Named(), Named)
    assert not covers(ValueError(), Named)


def test_what_could_not_be_rebuilt_counts_by_its_names():
    exc = RemoteError("mine.Busy", "later")
    exc.class_names = ("mine.Busy", "builtins.OSError", "builtins.Exception")
    assert covers(exc, OSError)
    assert covers(exc, RemoteError)
    assert not covers(exc, (KeyError, ConnectionError))


def test_of_items_that_failed_for_good_nothing_is_kept():
    repeats = Repeats(1, OSError)
    assert repeats.failed(3, is_covered=repeats.covers(OSError())) == 0.0
    assert repeats.tries == {3: 1}
    assert repeats.failed(3, is_covered=repeats.covers(OSError())) is None
    assert repeats.failed(4, is_covered=repeats.covers(KeyError())) is None
    assert repeats.tries == {}


def test_a_lost_worker_is_blamed_on_the_item_it_was_seen_to_run():
    assert at_fault(Span(3, 9), 4) == 4
    assert at_fault(Span(3, 4), None) == 3
    assert at_fault(Span(3, 9), None) is None
    assert at_fault(Span(3, 9), 9) is None


def ran_by_schedule(retries, event):
    """Runs of one item until the schedule reports its failure."""
    schedule, runs = Schedule([(0, 1)], 1, retries=retries, timeout_s=1.0), 0
    todo = schedule.begin()
    while todo:
        match todo.pop(0):
            case Start(number):
                todo += schedule.handle(Ready(number))
            case Send(number, span):
                runs += 1
                todo += schedule.handle(event(number, span.start))
            case Fail():
                return runs
    raise AssertionError


def ran_by_loop(retries):
    calls = []

    def fail(item):
        calls.append(item)
        raise ValueError(item)

    outcome = Outcome("collect")
    Loop(fail, source_of([7]), outcome, retries).run(0, 1)
    assert outcome.failures.keys() == {0}
    return len(calls)


def ran_by_tasks(retries):
    calls = []

    async def fail(item):
        calls.append(item)
        raise ValueError(item)

    asyncio.run(amorsize.execute_async(fail, [7], retries=retries, on_error="collect"))
    return len(calls)


@pytest.mark.parametrize("retries", [0, 2])
def test_all_ways_to_run_an_item_repeat_it_equally_often(retries):
    raised = ran_by_schedule(retries, lambda worker, item: Done(worker, 1.0, failed=(item,)))
    late = ran_by_schedule(retries, lambda worker, item: Tick((Running(worker, item, 2.0),)))
    assert raised == late == ran_by_loop(retries) == ran_by_tasks(retries) == retries + 1


def test_retries_do_not_matter_to_an_item_that_costs_workers():
    for retries in (0, 5):
        assert ran_by_schedule(retries, Lost) == MAX_LOSSES
    assert [after_loss(losses) for losses in range(MAX_LOSSES + 1)] == [True] * MAX_LOSSES + [False]

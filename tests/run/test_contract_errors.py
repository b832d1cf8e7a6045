"""The contract for errors: on every backend the user gets the item's exception, or the object that cannot be sent."""

from __future__ import annotations

import re
import threading
import traceback
from functools import partial

import engine_functions as ef
import hands
import modes
import pytest
from modes import Mode, over

from amorsize.errors import RemoteError, TransferError
from amorsize.facts import Failure


def note_of(exc: BaseException) -> str:
    notes = [note for note in getattr(exc, "__notes__", ()) if note.startswith("amorsize")]
    assert len(notes) == 1
    return notes[0]


class TestErrors:
    def test_type_and_attributes_are_kept_and_the_item_is_named(self, run):
        with pytest.raises(ef.Refused) as caught:
            run(partial(ef.refuse, (17,)), range(40))
        assert (caught.value.item, caught.value.code) == (17, 7)
        assert note_of(caught.value) == "amorsize: raised at item 17: 17"

    def test_of_a_generator_the_item_is_named_too(self, run):
        with pytest.raises(ef.Refused) as caught:
            run(partial(ef.refuse, ("item",)), iter([*range(30), "item"]))
        assert note_of(caught.value) == "amorsize: raised at item 30: 'item'"

    def test_the_note_is_short(self, run):
        with pytest.raises(ef.Refused) as caught:
            run(partial(ef.refuse, ("y" * 10_000,)), [1, "y" * 10_000])
        assert len(note_of(caught.value)) < 120

    def test_the_place_in_func_can_be_seen(self, run):
        with pytest.raises(ef.Refused) as caught:
            run(partial(ef.refuse, (17,)), range(40))
        assert "in refuse" in "".join(traceback.format_exception(caught.value))

    @over(modes.SERIAL, modes.AUTO)
    def test_the_loop_raises_at_the_first(self, run, monkeypatch):
        # Where items have stood still, "auto" may leave the loop.
        with hands.virtual_time(monkeypatch), pytest.raises(ef.Refused) as caught:
            run(partial(ef.refuse, range(5, 10_000)), range(10_000))
        assert caught.value.item == 5

    @over(*modes.PROCESSES, modes.THREADS)
    def test_one_worker_raises_at_the_first(self, run):
        with pytest.raises(ef.Refused) as caught:
            run(partial(ef.refuse, range(5, 1000)), range(1000), max_workers=1)
        assert caught.value.item == 5

    def test_several_fail_and_one_of_them_is_raised(self, run):
        with pytest.raises(ef.Refused) as caught:
            run(partial(ef.refuse, range(5, 1000)), range(1000))
        assert note_of(caught.value).startswith(f"amorsize: raised at item {caught.value.item}:")
        assert caught.value.item >= 5

    def test_collect_puts_each_failure_in_its_place(self, run):
        bad = (0, 3, 17, 38, 39)
        found = run(partial(ef.refuse, bad), range(40), on_error="collect")
        assert [x for x in range(40) if isinstance(found[x], Failure)] == list(bad)
        assert [found[x] for x in range(40) if x not in bad] == [x * x for x in range(40) if x not in bad]
        for x in bad:
            assert found[x].index == x
            assert isinstance(found[x].exception, ef.Refused)
            assert found[x].exception.item == x
            assert "in refuse" in found[x].traceback

    def test_collect_when_everything_fails(self, run):
        found = run(partial(ef.refuse, range(30)), iter(range(30)), on_error="collect")
        assert [failure.exception.item for failure in found] == list(range(30))

    @pytest.mark.usefixtures("no_trials")
    @pytest.mark.parametrize("kind", [list, iter], ids=["list", "generator"])
    def test_retries_repeat_what_raised_and_nothing_else(self, run, tmp_path, kind):
        func = partial(ef.fail_first, str(tmp_path), 2)
        assert run(func, kind(range(12)), retries=2) == [x * x for x in range(12)]
        assert [ef.attempts(str(tmp_path), x) for x in range(12)] == [1, 3] * 6

    @pytest.mark.usefixtures("no_trials")
    def test_retries_come_to_an_end(self, run, tmp_path):
        found = run(partial(ef.fail_first, str(tmp_path), 99), range(12), retries=2, on_error="collect")
        assert [isinstance(one, Failure) for one in found] == [False, True] * 6
        assert [ef.attempts(str(tmp_path), x) for x in range(12)] == [1, 3] * 6

    @pytest.mark.usefixtures("no_trials")
    def test_after_the_retries_the_exception_is_raised(self, run, tmp_path):
        with pytest.raises(ef.Refused) as caught:
            run(partial(ef.fail_first, str(tmp_path), 99), range(12), retries=1)
        assert ef.attempts(str(tmp_path), caught.value.item) == 2

    @over(modes.THREADS, modes.TO_THREADS, *modes.WITH_WORKERS)
    def test_an_item_is_repeated_after_the_slow_end_of_a_generator(self, run, tmp_path):
        # Once, the map waited for ever for an item that it had not sent.
        func = partial(ef.fail_once_at_the_end, str(tmp_path), 11)
        data = ef.slow_to_end(str(tmp_path), 12)
        assert run(func, data, retries=1) == [x * x for x in range(12)]
        assert ef.attempts(str(tmp_path), 11) == 2

    def test_an_exception_that_cannot_be_rebuilt(self, run, mode):
        with pytest.raises((RemoteError, ef.Twisted)) as caught:
            run(partial(ef.raise_at, 17, ef.Twisted), range(40))
        if mode.backend == "processes":
            assert isinstance(caught.value, RemoteError)
            assert caught.value.type_name == "engine_functions.Twisted"
        assert "1 and 2" in str(caught.value)
        assert note_of(caught.value).startswith("amorsize: raised at item 17:")

    @pytest.mark.parametrize("on_error", ["raise", "collect"])
    @pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
    def test_what_is_no_exception_ends_the_call_at_once(self, run, kind, on_error):
        with pytest.raises(kind):
            run(partial(ef.raise_at, 17, kind), range(40), on_error=on_error, retries=3)

    @pytest.mark.parametrize(("kind", "how"), [(SystemExit, "raised at"), (KeyboardInterrupt, "interrupted in")])
    def test_an_interrupt_does_not_come_from_the_item(self, run, kind, how):
        with pytest.raises(kind) as caught:
            run(partial(ef.raise_at, 17, kind), range(40))
        assert caught.value.__notes__[0].startswith(f"amorsize: {how} item 17")

    @pytest.mark.parametrize("kept", [False, True])
    def test_an_interrupt_tells_what_becomes_of_the_results(self, run, kept, tmp_path):
        def interrupt(done, total):
            if done:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt) as caught:
            run(abs, range(40), progress=interrupt, checkpoint=tmp_path / "x.ckpt" if kept else None)
        told = "the checkpoint keeps them" if kept else "checkpoint=PATH would keep them"
        assert re.fullmatch(rf"amorsize: .* with results of \d+ items?; {told} .*", note_of(caught.value))

    def test_stop_iteration_is_not_the_end_of_the_data(self, run):
        with pytest.raises(StopIteration) as caught:
            run(partial(ef.raise_at, 17, StopIteration), range(40))
        assert note_of(caught.value).startswith("amorsize: raised at item 17:")

    def test_stop_iteration_is_collected_as_any_other(self, run):
        found = run(partial(ef.raise_at, 17, StopIteration), range(40), on_error="collect")
        assert type(found[17].exception) is StopIteration
        assert found[:17] + found[18:] == [x * x for x in range(40) if x != 17]

    @pytest.mark.parametrize("kind", [list, iter], ids=["list", "generator"])
    @over(modes.TO_THREADS, modes.THREADS, modes.EITHER)
    def test_an_error_on_a_trial_of_threads(self, run, kind):
        found = run(partial(ef.refuse, (5, 6, 17)), kind(range(40)), on_error="collect")
        assert [i for i in range(40) if isinstance(found[i], Failure)] == [5, 6, 17]


class TestTransfer:
    """Objects that cannot be sent to a process: a clear error if func must not run in the caller, else no failure."""

    @over(*modes.PROCESSES[1:])
    def test_func(self, run):
        lock = threading.Lock()
        with pytest.raises(TransferError, match="func cannot be pickled") as caught:
            run(lambda x: lock and x, range(9))
        assert (caught.value.what, caught.value.index) == ("func", None)

    @over(Mode("processes", "fork"), *modes.TO_PROCESSES, modes.AUTO, modes.THREADS, modes.SERIAL)
    def test_func_where_it_need_not(self, run):
        lock = threading.Lock()
        assert run(lambda x: lock and x, range(30)) == list(range(30))

    @over(*modes.PROCESSES[1:])
    def test_initializer(self, run):
        with pytest.raises(TransferError, match="initializer cannot be pickled") as caught:
            run(ef.square, range(9), initializer=ef.set_state, initargs=(threading.Lock(),))
        assert caught.value.what == "initializer"

    @over(*modes.PROCESSES)
    @pytest.mark.parametrize("kind", [ef.Stuck, lambda x: ef.Twisted(x, x)], ids=["pickled", "rebuilt"])
    def test_item(self, run, kind):
        data = (kind(i) if i == 17 else i for i in range(40))
        with pytest.raises(TransferError) as caught:
            run(ef.value_of, data)
        assert (caught.value.what, caught.value.index) == ("item", 17)
        assert note_of(caught.value).startswith("amorsize: raised at item 17")

    @over(*modes.PROCESSES)
    def test_some_items_and_the_others_are_collected(self, run):
        data = iter([ef.Stuck(i) if i % 3 == 0 else i for i in range(40)])
        found = run(ef.value_of, data, on_error="collect")
        assert found[1::3] == list(range(1, 40, 3))
        assert [(f.exception.what, f.index) for f in found[::3]] == [("item", i) for i in range(0, 40, 3)]

    @over(Mode("processes", "fork"))
    def test_items_that_a_fork_inherits(self, run):
        assert run(ef.value_of, [ef.Stuck(i) for i in range(40)]) == list(range(40))

    @over(*modes.TO_PROCESSES, modes.AUTO, modes.THREADS, modes.SERIAL)
    @pytest.mark.parametrize("order", [list, iter], ids=["list", "generator"])
    def test_items_where_they_need_not(self, run, order):
        data = [ef.Stuck(i) if i % 3 else i for i in range(40)]
        assert run(ef.value_of, order(data)) == list(range(40))

    @over(*modes.TO_PROCESSES, modes.AUTO, modes.THREADS, modes.SERIAL)
    def test_items_that_cannot_be_rebuilt_where_they_need_not(self, run):
        data = [ef.Twisted(i, i) if i % 9 == 0 else i for i in range(40)]
        assert run(ef.describe, iter(data)) == [ef.describe(x) for x in data]

    @over(*modes.PROCESSES)
    @pytest.mark.parametrize("func", [ef.stuck_at, ef.twisted_at], ids=["pickled", "rebuilt"])
    def test_result(self, run, func):
        with pytest.raises(TransferError) as caught:
            run(partial(func, (17,)), range(40))
        assert (caught.value.what, caught.value.index) == ("result", 17)
        assert type(func((17,), 17)).__name__ in str(caught.value)

    @over(*modes.PROCESSES)
    @pytest.mark.parametrize("func", [ef.stuck_at, ef.twisted_at], ids=["pickled", "rebuilt"])
    def test_some_results_and_the_others_are_collected(self, run, func):
        bad = range(5, 40, 6)
        found = run(partial(func, bad), range(40), on_error="collect")
        assert [x for x in found if not isinstance(x, Failure)] == [x for x in range(40) if x not in bad]
        assert [(found[x].exception.what, found[x].index) for x in bad] == [("result", x) for x in bad]

    @over(*modes.TO_PROCESSES, modes.AUTO, modes.THREADS, modes.SERIAL)
    @pytest.mark.parametrize("func", [ef.stuck_at, ef.twisted_at], ids=["pickled", "rebuilt"])
    def test_results_where_they_need_not(self, run, func):
        found = run(partial(func, range(5, 40, 6)), range(40))
        assert list(map(ef.describe, map(ef.value_of if func is ef.stuck_at else str, found))) == [
            ef.describe(x if func is ef.stuck_at else str(ef.twisted_at(range(5, 40, 6), x))) for x in range(40)
        ]

"""The contract for the events of a whole run: those of ``on_event=``, and those of `amorsize.testing`."""

from amorsize import events


def of(seen, kind):
    return [event for event in seen if isinstance(event, kind)]


def is_whole(seen, items, *, told=True):
    """Assert that these are the events of a run over ``items`` items that all succeeded; ``told``: their number."""
    assert isinstance(seen[0], events.RunStarted)
    assert seen[0].items == (items if told else None)
    assert isinstance(seen[-1], events.RunFinished)
    assert (seen[-1].items, seen[-1].failed) == (items, 0)
    chunks = of(seen, events.ChunkDone)
    assert sum(chunk.items - chunk.failed for chunk in chunks) == items
    covered = sorted(i for chunk in chunks for i in range(chunk.start, chunk.start + chunk.items))
    assert covered == list(range(items))
    assert [event.at_s for event in seen] == sorted(event.at_s for event in seen)
    assert of(seen, events.BackendChosen)


def fails_at(seen, items, failed):
    """Assert that these are the events of a whole run in which the items ``failed`` failed for good."""
    assert sorted(event.index for event in of(seen, events.ItemFailed)) == sorted(failed)
    assert (seen[-1].items, seen[-1].failed) == (items, len(failed))
    done = sum(chunk.items - chunk.failed for chunk in of(seen, events.ChunkDone))
    assert done + len(failed) == items


def workers_come_and_go(seen):
    """Assert that at least two workers started, and that each of them ended."""
    started = [event.worker for event in of(seen, events.WorkerStarted)]
    assert len(started) >= 2
    assert sorted(event.worker for event in of(seen, events.WorkerRetired)) == sorted(started)

"""What each worker did during a run, from its events: a lane per worker with chunks, waits and losses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from amorsize.events import ChunkDone, Event, WorkerLost, WorkerRetired, WorkerStarted
from amorsize.plan.drawing import INK, scale_time

# Lanes that are drawn; so many fill a page.
MOST_LANES: Final = 64
# Chunks are drawn as one if less than this share of the run lies between them: no eye sees it.
# guess
UNSEEN: Final = 1e-3
BUSY: Final = "#0072b2"
FAILED: Final = "#e69f00"
ALIVE: Final = "#d9d9d9"


class Lane(NamedTuple):
    """One worker's run, in seconds since the run began."""

    worker: int | None
    """None: the caller itself."""
    began_s: float
    ended_s: float
    chunks: tuple[tuple[float, float], ...]
    """When each chunk, or chunks without a pause between them, began and ended."""
    failed: tuple[tuple[float, float], ...]
    """The same of chunks in which an item raised."""
    lost_s: float | None
    """When the worker died."""

    @property
    def waited_s(self) -> float:
        """Seconds between its chunks, and before the first."""
        return self.ended_s - self.began_s - sum(end - begin for begin, end in self.chunks + self.failed)


def lanes_of(events: Iterable[Event]) -> list[Lane]:
    """Return a lane for the caller, if it ran items, and for each worker, in the order of their starts.

    The caller learns of a chunk after its end, so that a chunk is drawn as late as it was reported.

    Examples
    --------
    >>> chunk = dict(start=0, items=5, failed=0, wall_s=0.25, cpu_s=0.25)
    >>> lanes_of([WorkerStarted(at_s=0.0, worker=0, pid=1), ChunkDone(at_s=0.5, worker=0, **chunk),
    ...     WorkerLost(at_s=0.75, worker=0, index=7, exitcode=None, signal=9, oom=False)])
    [Lane(worker=0, began_s=0.0, ended_s=0.75, chunks=((0.25, 0.5),), failed=(), lost_s=0.75)]
    """
    told = sorted(events, key=lambda event: event.at_s)
    over_s = told[-1].at_s if told else 0.0
    began: dict[int | None, float] = {}
    ended: dict[int | None, float] = {}
    lost: dict[int | None, float] = {}
    chunks: dict[int | None, list[tuple[float, float, bool]]] = {}
    for event in told:
        match event:
            case WorkerStarted():
                began.setdefault(event.worker, event.at_s)
            case WorkerRetired():
                ended[event.worker] = event.at_s
            case WorkerLost():
                ended[event.worker] = lost[event.worker] = event.at_s
            case ChunkDone():
                row = chunks.setdefault(event.worker, [])
                # Two chunks are on their way to a worker at a time: one that was reported late did not run twice.
                start_s = max(event.at_s - event.wall_s, row[-1][1] if row else began.get(event.worker, 0.0))
                began.setdefault(event.worker, start_s)
                row.append((start_s, event.at_s, event.failed > 0))
    lanes = []
    for worker, began_s in began.items():
        row = chunks.get(worker, [])
        last_s = row[-1][1] if row else began_s
        # The caller goes on after its last chunk, with other things.
        ended_s = ended.get(worker, last_s if worker is None else over_s)
        whole = tuple(_joined([(a, b) for a, b, failed in row if not failed], UNSEEN * over_s))
        failed = tuple((a, b) for a, b, failed in row if failed)
        lanes.append(Lane(worker, began_s, max(ended_s, last_s), whole, failed, lost.get(worker)))
    return lanes


def _joined(spans: Sequence[tuple[float, float]], unseen_s: float) -> list[tuple[float, float]]:
    found: list[tuple[float, float]] = []
    for begin, end in spans:
        if found and begin - found[-1][1] <= unseen_s:
            found[-1] = (found[-1][0], end)
        else:
            found.append((begin, end))
    return found


def draw_lanes(axes: Any, lanes: Sequence[Lane]) -> None:
    """Draw the lanes from the top: chunks dark, waits light, a cross where a worker was lost."""
    shown = lanes[:MOST_LANES]
    rows = range(len(shown))[::-1]
    labels = {"waits": "waits", "chunks": "chunks", "failed": "chunks with a failed item", "lost": "lost"}
    for row, lane in zip(rows, shown, strict=True):
        at = (row - 0.35, 0.7)
        life = [(lane.began_s, lane.ended_s - lane.began_s)]
        axes.broken_barh(life, at, color=ALIVE, label=labels.pop("waits", None))
        if lane.chunks:
            spans = [(begin, end - begin) for begin, end in lane.chunks]
            axes.broken_barh(spans, at, color=BUSY, label=labels.pop("chunks", None))
        if lane.failed:
            spans = [(begin, end - begin) for begin, end in lane.failed]
            axes.broken_barh(spans, at, facecolor=FAILED, hatch="//", label=labels.pop("failed", None))
        if lane.lost_s is not None:
            look: dict[str, Any] = {"color": INK, "markersize": 8, "linestyle": "none", "clip_on": False}
            axes.plot([lane.lost_s], [row], "X", label=labels.pop("lost", None), **look)
    axes.set_yticks(list(rows), ["caller" if lane.worker is None else f"worker {lane.worker}" for lane in shown])
    axes.set_ylim(-0.6, len(shown) - 0.4)
    scale_time(axes)
    more = f"; {len(lanes) - len(shown)} more are not shown" if len(lanes) > len(shown) else ""
    axes.set_title(f"what each worker did{more}", loc="left", fontsize=10)

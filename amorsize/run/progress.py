"""The progress bar of ``progress=True``, drawn by tqdm (extra ``progress``)."""

from __future__ import annotations

import sys
import threading
from typing import Any

from amorsize.events import ChunkDone, Event, ItemFailed, RunStarted


class Bar:
    """Listens to what happens, and shows how many items are done."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._failed = 0

    def __call__(self, event: Event) -> None:
        """Hear of an event."""
        if isinstance(event, RunStarted):
            self._bar = _quiet_tqdm()(total=event.items, unit="item")
        elif isinstance(event, ChunkDone):
            self._bar.update(event.items - event.failed)
        elif isinstance(event, ItemFailed):
            self._failed += 1
            self._bar.set_postfix(failed=self._failed, refresh=False)
            self._bar.update(1)

    def close(self) -> None:
        """The run is over."""
        if self._bar is not None:
            self._bar.close()


def _quiet_tqdm() -> Any:
    """A tqdm without a monitor thread, which would make forking unsafe, and without a lock of multiprocessing."""
    if "ipykernel" in sys.modules:
        from tqdm.auto import tqdm
    else:
        from tqdm import tqdm

    class Quiet(tqdm):  # type: ignore[misc]  # it is not typed
        """The same, quiet."""

        monitor_interval = 0

    if not hasattr(Quiet, "_lock"):
        Quiet.set_lock(threading.RLock())
    return Quiet

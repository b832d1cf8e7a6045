"""Every way in which ``execute()`` may carry out a map, one by one, for the contract and the fault tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from amorsize.facts import Backend, Breakdown, Forecast
from amorsize.model.decide import Decider, Go, Step

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Mode:
    """A backend and start method; ``turns`` is the backend that the decider chooses after two items."""

    backend: Any
    start_method: str | None = None
    turns: Backend | None = None

    @property
    def name(self) -> str:
        asked = self.backend if isinstance(self.backend, str) else "+".join(self.backend)
        return "-".join(filter(None, [asked, f"to-{self.turns}" if self.turns else None, self.start_method]))

    @property
    def arguments(self) -> dict[str, Any]:
        return {"backend": self.backend, "start_method": self.start_method, "max_workers": 2}

    @property
    def in_caller(self) -> bool:
        """True if func may run in the calling process."""
        return self.backend != "processes"

    @property
    def sends_func(self) -> bool:
        return self.start_method not in (None, "fork")


SERIAL = Mode("serial")
THREADS = Mode("threads")
PROCESSES = [Mode("processes", method) for method in ("fork", "forkserver", "spawn")]
AUTO = Mode("auto")
TO_THREADS = Mode("auto", None, "threads")
TO_PROCESSES = [Mode("auto", method, "processes") for method in ("fork", "spawn")]
EITHER = Mode(("threads", "processes"))
ALL = [SERIAL, THREADS, *PROCESSES, AUTO, TO_THREADS, *TO_PROCESSES, EITHER]
WITH_WORKERS = [*PROCESSES, *TO_PROCESSES]


def turning(backend: Backend, after: int = 2) -> type[Decider]:
    """Return a decider that goes parallel after so many items, whatever their time: a clock would decide by chance."""

    class Turning(Decider):
        def wants_choices(self, backends: Sequence[Backend]) -> bool:
            return self.items >= 1

        def next(self) -> Step:
            if self.choices is None or self.items < after or backend not in self.choices.backends:
                return self.batch()
            costs = self.choices.costs.processes if backend == "processes" else self.choices.costs.threads
            assert costs is not None
            return Go(
                Forecast(
                    backend=backend,
                    workers=self.choices.max_workers or 2,
                    chunksize=1,
                    start_method=costs.start_method,
                    total_s=1.0,
                    low_s=1.0,
                    high_s=1.0,
                    breakdown=Breakdown(compute_s=1.0),
                )
            )

    return Turning


def over(*some: Mode) -> Any:
    """Restrict a test to these modes."""
    return pytest.mark.parametrize("mode", some, ids=lambda mode: mode.name, indirect=True)


Run = Callable[..., Any]


def runner(mode: Mode, monkeypatch: Any) -> Run:
    """Return ``execute`` in this mode."""
    import amorsize
    from amorsize.run import deciding as engine

    if mode.turns is not None:
        monkeypatch.setattr(engine, "Decider", turning(mode.turns))

    def run(func: Any, data: Any, **arguments: Any) -> Any:
        return amorsize.execute(func, data, **{**mode.arguments, **arguments})

    return run

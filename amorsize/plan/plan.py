"""The plan: the object that users hold. A frozen forecast, its reasons, and the pool that carries it out."""

from __future__ import annotations

from amorsize.facts import Forecast
from amorsize.frozen import field, replace
from amorsize.hints import folded
from amorsize.plan import plan_text
from amorsize.plan.record import PlanRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from amorsize.events import Event
    from amorsize.model.search import Basis
    from amorsize.plan.advice import Advice, WhatIf
    from amorsize.plan.pool_watch import PoolWatch
    from amorsize.plan.pools import PoolLike


class Plan(PlanRecord):
    """The best way to run a map on this machine, and its forecast: a `PlanRecord` that can be shown and carried out.

    Attributes
    ----------
    pool_watch : PoolWatch or None
        Knows the function, and records a run in the history when ``pool()`` has run exactly one map over ``data``.
    is_elsewhere : bool
        True if the plan is for a machine that is not here (``optimize(machine=...)``).
    basis : Basis or None
        What the choice rests on, so that `advice` and `what_if` can make it again with something changed.
    """

    pool_watch: PoolWatch | None = field(default=None, repr=False, compare=False)
    is_elsewhere: bool = field(default=False, repr=False)
    basis: Basis | None = field(default=None, repr=False, compare=False)

    def pool(self) -> PoolLike:
        """Open the pool that the plan chose: a ``multiprocessing.Pool``, a ``ThreadPool``, or a plain loop.

        Its ``map``, ``imap``, ``imap_unordered`` and ``starmap`` use the plan's chunksize unless given another. Worker
        processes get the plan's function once, as the pool opens, if its pickle is larger than 64 kB: they then see
        nothing of what is changed in it later. A smaller one goes with every chunk, as in any Pool.

        Returns
        -------
        context manager
            Leaving it ends the workers.

        Raises
        ------
        ValueError
            If the plan is for a machine that is not here, for the user's executor or cluster, which has its workers
            already, or of a coroutine function, which no pool can run.

        Examples
        --------
        >>> import amorsize
        >>> plan = amorsize.optimize(abs, [-2, 1])
        >>> with plan.pool() as pool:
        ...     pool.map(abs, plan.data)
        [2, 1]
        """
        if self.is_elsewhere:
            raise ValueError(
                "this plan is for a machine that is not here, and its pool would not be the best one: call optimize() "
                "there, or here without machine="
            )
        if self.backend == "executor":
            raise ValueError(
                "this plan is for your executor or cluster, which has its workers already: call "
                "execute(func, data, backend=...) with it"
            )
        if self.backend == "async":
            raise ValueError(
                "this plan ran a coroutine function, which no pool can run: call execute(), await execute_async() or "
                "stream_async()"
            )
        from amorsize.backends.workers.main_module import used
        from amorsize.plan.pools import open_pool

        watched = self.pool_watch
        watch, uses = None, []
        if watched is not None:
            watch, uses = watched.watch(self), used(watched.func, self.data)
        how = self.backend, self.n_jobs, self.chunksize, self.start_method, self.native_threads
        return open_pool(*how, watch, uses, self.sample.func_bytes if self.sample is not None else 0.0)

    def explain(self) -> str:
        """Return the plan in plain words: its forecast, what bounds it, why others lost, and what would help."""
        return plan_text.explain(self) + plan_text.prospects(self)

    @property
    def bound_by(self) -> str | None:
        """What keeps the map from being faster, such as "the cores: 2 of them compute all the time"; None: unknown."""
        from amorsize.plan.advice import bound

        return bound(self.basis, self._chosen()) if self.basis is not None and self.predicted_s else None

    @property
    def advice(self) -> tuple[Advice, ...]:
        """The changes to func or data that would help most, the best first, each with its forecast gain.

        At most three, of 15 % and more. Takes 0.3-3 ms: the model chooses anew for each change.

        Examples
        --------
        >>> import amorsize
        >>> len(amorsize.optimize(abs, [-2, 1]).advice) <= 3
        True
        """
        from amorsize.plan.advice import advise

        return advise(self.basis, self._chosen()) if self.basis is not None and self.predicted_s else ()

    def what_if(self, cores: tuple[int, ...] = (4, 8, 16, 64)) -> tuple[WhatIf, ...]:
        """Return the best way to run the same map on machines with so many cores, which are otherwise like this one.

        Empty if the number of items is unknown. Takes a search for each, some 1 ms for 64 cores.

        Examples
        --------
        >>> import amorsize
        >>> [there.cores for there in amorsize.optimize(abs, [-2, 1]).what_if((2, 16))]
        [2, 16]
        """
        from amorsize.plan.advice import what_if

        return what_if(self.basis, cores) if self.basis is not None and self.predicted_s else ()

    @property
    def useful_cores(self) -> int | None:
        """Number of cores beyond which more do not pay (5 %); None if the number of items is unknown."""
        from amorsize.plan.advice import most_useful_cores

        return most_useful_cores(self.basis) if self.basis is not None and self.predicted_s else None

    def _chosen(self) -> Forecast:
        """Return the plan's own forecast as the model made it, before history corrected it."""
        own = plan_text.forecast_of(self)
        return replace(own, total_s=self.model_s) if self.model_s else own

    @folded
    def plot(self, path: str | None = None, *, events: Iterable[Event] = ()) -> Any:
        """Draw the forecast of every candidate, and where the time would go; needs the extra ``plot``.

        Parameters
        ----------
        path : str, optional
            Where to save the picture.
        events : iterable of Event, optional
            What ``execute(..., on_event=events.append)`` has collected in a list: adds a lane per worker with its
            chunks, its waits, and its loss.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ImportError
            When matplotlib is not installed.
        """
        from amorsize.plan.plan_plot import plot_plan

        return plot_plan(self, path, events=events)

    def _repr_html_(self) -> str:
        from amorsize.plan.plan_html import plan_html

        also = [("bounded by", self.bound_by)] if self.bound_by else []
        also += [("would help", f"{one.gain:.1f} times as fast: {one.what} ({one.why})") for one in self.advice]
        return plan_html(self, also)

    def __str__(self) -> str:
        return self.explain()

"""The plan: the object that users hold. A frozen forecast, its reasons, and the pool that carries it out."""

from __future__ import annotations

from amorsize.frozen import field
from amorsize.plan import plan_text
from amorsize.plan.record import PlanRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

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
    """

    pool_watch: PoolWatch | None = field(default=None, repr=False, compare=False)
    is_elsewhere: bool = field(default=False, repr=False)

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
            If the plan is for a machine that is not here.

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
        from amorsize.backends.workers.main_module import used
        from amorsize.plan.pools import open_pool

        watched = self.pool_watch
        watch, uses = None, []
        if watched is not None:
            watch, uses = watched.watch(self), used(watched.func, self.data)
        how = self.backend, self.n_jobs, self.chunksize, self.start_method, self.native_threads
        return open_pool(*how, watch, uses, self.sample.func_bytes if self.sample is not None else 0.0)

    def explain(self) -> str:
        """Return the plan, its forecast, the sample and the rejected candidates, in a few lines."""
        return plan_text.explain(self)

    def plot(self, path: str | None = None) -> Any:
        """Draw the forecast of every candidate; needs the extra ``plot``.

        Parameters
        ----------
        path : str, optional
            Where to save the picture.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ImportError
            When matplotlib is not installed.
        """
        from amorsize.plan.plan_plot import plot_plan

        return plot_plan(self, path)

    def _repr_html_(self) -> str:
        from amorsize.plan.plan_html import plan_html

        return plan_html(self)

    def __str__(self) -> str:
        return self.explain()

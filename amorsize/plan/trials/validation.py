"""The validation: a race that explains itself in words, as a table, as a picture and as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from amorsize.formatting import printable
from amorsize.frozen import plain
from amorsize.hints import folded
from amorsize.plan.trials import verdict
from amorsize.plan.trials.profiling import Profile, lines_of
from amorsize.plan.trials.race import Race


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation(Race):
    """Forecast against measurement, for one function and its data on this machine: a `Race` that can be shown.

    Attributes
    ----------
    profile : Profile or None
        What a profiler saw of some items, apart from the timed runs (``validate(profile=...)``): ``text`` and, for
        speedscope.app, ``speedscope``.
    """

    profile: Profile | None = field(default=None, repr=False)

    @property
    def verdict(self) -> str:
        """The conclusions in plain sentences."""
        return verdict.words(self)

    def explain(self) -> str:
        """Return the verdict and a table of all contenders' times."""
        text = verdict.explain(self)
        return text if self.profile is None else "\n".join([text, "", *map(printable, lines_of(self.profile))])

    @folded
    def plot(self, path: str | None = None) -> Any:
        """Draw each contender's time in each round, and the forecast; needs the extra ``plot``.

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
        from amorsize.plan.trials.validation_plot import plot_validation

        return plot_validation(self, path)

    def to_dict(self) -> dict[str, Any]:
        """Return measurements and conclusions as plain dicts, lists, numbers and strings."""
        best = self.best
        return {
            "func": self.func,
            "n_used": self.n_used,
            "n_items": self.n_items,
            "rounds": self.rounds,
            "ok": self.ok,
            "verdict": self.verdict,
            "predicted_s": self.predicted_s,
            "predicted_interval_s": self.plan.predicted_interval_s and list(self.plan.predicted_interval_s),
            "clock_s": self.clock_s,
            "forecast_error": self.forecast_error,
            "forecast_held": self.forecast_held,
            "best": best and best.name,
            "regret_execute": self.regret_execute,
            "regret_plan": self.regret_plan,
            "speedup": self.speedup,
            "slower_than_loop": self.slower_than_loop,
            "same_results": self.same_results,
            "busy": self.busy,
            "took_s": self.took_s,
            "warnings": list(self.warnings),
            "contenders": [one.to_dict() for one in self.contenders],
            "plan": self.plan.to_dict(),
            "profile": self.profile and plain(self.profile),
        }

    def to_json(self, *, indent: int | None = None) -> str:
        """Return `to_dict` as JSON."""
        return json.dumps(self.to_dict(), indent=indent)

    def _repr_html_(self) -> str:
        from amorsize.plan.trials.validation_plot import validation_html

        return validation_html(self)

    def __str__(self) -> str:
        return self.explain()

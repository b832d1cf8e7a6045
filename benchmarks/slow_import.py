"""A module whose imports take long, for `benchmarks.advice`."""

from __future__ import annotations

import sklearn.ensemble
import sklearn.linear_model

from benchmarks.advice import burned

MODELS = (sklearn.ensemble.RandomForestRegressor, sklearn.linear_model.LinearRegression)


def heavy(x: int) -> int:
    """Compute for 10 ms."""
    return burned(10_000)

"""scikit-learn's estimators with amorsize as joblib's backend: the results are those of joblib's loop."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("joblib")
pytest.importorskip("sklearn")

from joblib import parallel_config
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.tree import DecisionTreeClassifier

from amorsize.integrations.joblib import AmorsizeBackend


class AtWorkers(AmorsizeBackend):
    """The same without its loop: every task runs at workers, however short it is."""

    def configure(self, *args, **kwargs):
        workers = super().configure(*args, **kwargs)
        self._options = self._options._replace(begins_here=False)
        return workers


@pytest.fixture(scope="module")
def data():
    return make_classification(400, 12, random_state=0)


def scores(data):
    return cross_val_score(LogisticRegression(), *data, cv=4)


def search(data):
    grid = {"max_depth": [2, 4], "min_samples_leaf": [1, 5]}
    found = GridSearchCV(DecisionTreeClassifier(random_state=0), grid, cv=3).fit(*data)
    return [*found.cv_results_["mean_test_score"], *found.predict_proba(data[0])[:, 0]]


def importance(data):
    fitted = LogisticRegression().fit(*data)
    return permutation_importance(fitted, *data, n_repeats=3, random_state=0).importances


def predictions(data):
    fitted = RandomForestClassifier(12, random_state=0).fit(*data)
    return [*fitted.predict_proba(data[0][:1]).ravel(), *fitted.predict_proba(data[0]).ravel()]


@pytest.mark.parametrize("work", [scores, search, importance, predictions])
@pytest.mark.parametrize("backend", [AmorsizeBackend, AtWorkers])
def test_results_are_those_of_the_loop(work, backend, data):
    with parallel_config("sequential"):
        expected = work(data)
    with parallel_config(backend(), n_jobs=2):
        found = work(data)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_with_no_n_jobs_all_cores_may_be_used(data):
    with parallel_config("amorsize"):
        assert len(scores(data)) == 4


def test_a_large_training_set_reaches_workers(data):
    big = np.tile(data[0], (60, 10)), np.tile(data[1], 60)
    with parallel_config("sequential"):
        expected = cross_val_score(DecisionTreeClassifier(max_depth=2, random_state=0), *big, cv=3)
    with parallel_config(AtWorkers(), n_jobs=2):
        found = cross_val_score(DecisionTreeClassifier(max_depth=2, random_state=0), *big, cv=3)
    np.testing.assert_array_equal(found, expected)

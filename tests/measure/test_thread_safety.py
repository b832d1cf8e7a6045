"""A look at a function says if it is safe in threads."""

from __future__ import annotations

import pytest
from thread_safe import SAFE
from thread_unsafe import UNSAFE

from amorsize.measure.thread_safety import look


def test_the_corpus_is_large():
    assert len(SAFE) >= 60
    assert len(UNSAFE) >= 60


@pytest.mark.parametrize("name", UNSAFE)
def test_what_is_wrong_in_threads_is_not_called_safe(name):
    func, items = UNSAFE[name]
    found = look(func, items, items)
    assert not found.is_safe
    assert found.why


@pytest.mark.parametrize("name", SAFE)
def test_what_is_right_in_threads_is_called_safe(name):
    func, items = SAFE[name]
    assert str(look(func, items, items)) == ""

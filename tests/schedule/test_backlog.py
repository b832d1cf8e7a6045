"""Spans that come back unread are sent in the order in which the source is read."""

from hypothesis import given
from hypothesis import strategies as st

from amorsize.schedule.backlog import Backlog, Group


def sent(backlog, size, until):
    """Return the items in the order in which they are sent, up to item ``until``."""
    out = []
    while len(out) < until:
        span = backlog.take_again(size) if backlog.again else backlog.cut(size)
        out += range(span.start, span.stop)
    return out[:until]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=8), st.randoms(use_true_random=False), st.booleans())
def test_unread_spans_go_out_in_order_however_they_came_back(sizes, order, endless):
    total = sum(sizes)
    backlog = Backlog(Group(), forgets=False)
    backlog.append(0, None if endless else total + 3)
    spans = [backlog.cut(size) for size in sizes]
    order.shuffle(spans)
    for span in spans:
        backlog.give_back_unread(span)
    assert sent(backlog, 2, total) == list(range(total))


@given(st.lists(st.integers(1, 5), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_unread_spans_count_as_fresh_again(sizes, order):
    backlog = Backlog(Group(), forgets=False)
    backlog.append(0, sum(sizes) + 3)
    spans = [backlog.cut(size) for size in sizes]
    order.shuffle(spans)
    assert sum(backlog.give_back_unread(span) for span in spans) == sum(sizes)
    assert backlog.fresh == backlog.lots[0].fresh == sum(sizes) + 3
    assert not backlog.again


def test_a_span_beside_repeated_items_keeps_its_place():
    backlog = Backlog(Group(), forgets=False)
    backlog.append(0, 12)
    first, second, third = (backlog.cut(4) for _ in range(3))
    backlog.give_back([third])
    backlog.give_back_unread(first)
    assert [backlog.take_again(12), backlog.take_again(12)] == [first, third]
    assert not backlog.again
    assert len(second) == 4

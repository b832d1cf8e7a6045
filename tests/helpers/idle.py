"""Managers of executors and pools that have nothing to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def does_nothing_between_calls(manager: Any, call: Callable[[], object], calls: int = 10) -> None:
    """Check that the thread of a manager waits without a limit, and that only calls and messages end its waits."""
    waits: list[tuple[float | None, int]] = []
    wait = manager.team.wait

    def spy(seconds: float | None) -> Any:
        messages = wait(seconds)
        waits.append((seconds, len(messages)))
        return messages

    manager.team.wait = spy
    for _ in range(calls):
        call()
    assert {seconds for seconds, _ in waits} <= {None, 0.0}
    # The call may be seen before its bell, which then ends one more wait.
    assert sum(not messages for _, messages in waits) <= 2 * calls
    assert sum(seconds == 0.0 for seconds, _ in waits) <= calls
    assert manager.wait_s(0.0) is None

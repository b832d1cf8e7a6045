"""Run a coroutine as `asyncio.run` does, and look at what it leaves."""

from __future__ import annotations

import asyncio
import threading


def run(coroutine):
    """Do the same as asyncio.run; an error that the loop reports fails the test, and so does a task that is left."""
    complaints = []

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        try:
            return await coroutine
        finally:
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert not [t for t in threading.enumerate() if t.name == "amorsize"]

    try:
        return asyncio.run(main())
    finally:
        assert not complaints

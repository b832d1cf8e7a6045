"""What outlives the call, and in which order it is read and written."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable
    from typing import Any


class State:
    """What outlives the call: in which order it is read and written.

    What is read first and written later is handed from item to item. Then only the loop gives what ``map`` gives: in
    separate processes each has a state of its own.
    """

    def __init__(self) -> None:
        self.first: dict[Hashable, str] = {}
        self.written: set[Hashable] = set()
        self.grown: set[int] = set()
        self.looked: set[int] = set()

    def read(self, key: Hashable) -> None:
        """Note that a variable, an attribute or an element is read."""
        self.first.setdefault(key, "read")

    def write(self, key: Hashable) -> None:
        """Note that it is written."""
        self.first.setdefault(key, "written")
        self.written.add(key)

    def look(self, objs: tuple[Any, ...]) -> None:
        """Note that what containers hold is read."""
        for obj in objs:
            self.looked.add(id(obj))
            self.read(("parts", id(obj)))

    def fill(self, objs: tuple[Any, ...]) -> None:
        """Note that what containers hold is replaced."""
        for obj in objs:
            self.write(("parts", id(obj)))

    def grow(self, objs: tuple[Any, ...]) -> None:
        """Note that containers get more or fewer elements, or others from what they held."""
        for obj in objs:
            self.grown.add(id(obj))
            self.read(("parts", id(obj)))

    def carries(self, returned: tuple[Any, ...]) -> bool:
        """Return True if something is handed from item to item; ``returned``: what is returned of it."""
        for obj in returned:
            self.looked.add(id(obj))
        grown = (("parts", one_of) for one_of in self.grown & self.looked)
        return any(self.first.get(key) == "read" for key in (*self.written, *grown))

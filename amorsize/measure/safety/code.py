"""One function's bytecode, read step by step: which value stands where on the stack and in the variables.

Each instruction is carried out on `amorsize.measure.safety.values` instead of objects. Where two ways through the code
meet, a variable may hold what either brings; a block runs again until nothing new comes in. Handlers of exceptions are
entered from each instruction of their range. Nothing is called.
"""

from __future__ import annotations

import opcode

from amorsize.measure.safety.values import ATOMS, NOTHING, Site, Value, joined, one

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType
    from typing import Any, Final

    from amorsize.measure.safety.calls import Look

GENERATOR: Final = 0x20
COROUTINES: Final = 0x80 | 0x200


if TYPE_CHECKING:
    Step = Callable[["Frame", int, int], bool | None]

# What carries out each instruction, by name: `amorsize.measure.safety.steps` and `safety_object_steps` fill it.
STEPS: Final[dict[str, Step]] = {}


def step(*names: str) -> Callable[[Step], Step]:
    """Register what carries out these instructions. It returns True where the way ends or leads elsewhere."""

    def add(do: Step) -> Step:
        STEPS.update(dict.fromkeys(names, do))
        return do

    return add


class OddCodeError(Exception):
    """The code holds what no compiler writes, or an instruction that is not known here."""


class Block:
    """A function's code, decoded.

    Attributes
    ----------
    steps : list of (str, int, int)
        Name, argument, and the step that a jump of this instruction leads to.
    handlers : dict of int to (int, int, int)
        By step: its handler, the depth of the stack there, and 1 if the place is pushed, too.
    leaders : set of int
        Steps at which ways meet.
    plan : list of tuple
        By step: what carries it out, its argument, the step that it jumps to, whether ways meet there, its handler, and
        whether it stores a variable.
    """

    __slots__ = ("code", "handlers", "leaders", "names", "offsets", "plan", "steps")

    def __init__(self, code: CodeType) -> None:
        self.code = code
        raw, opname = code.co_code, opcode.opname
        found: list[tuple[str, int]] = []
        self.offsets: list[int] = []
        at: dict[int, int] = {}
        extended, start = 0, None
        for offset in range(0, len(raw), 2):
            op, arg = raw[offset], raw[offset + 1]
            if not op:
                continue
            if start is None:
                start = offset
            name = opname[op]
            if name == "EXTENDED_ARG":
                extended = (extended | arg) << 8
                continue
            at[start] = len(found)
            at[offset] = len(found)
            self.offsets.append(offset)
            found.append((name, extended | arg))
            extended, start = 0, None
        self.offsets.append(len(raw))
        self.steps: list[tuple[str, int, int]] = []
        self.leaders: set[int] = set()
        for index, (name, arg) in enumerate(found):
            target = -1
            if "JUMP" in name or name in ("FOR_ITER", "SEND"):
                # Caches belong to their instruction, so that a jump is counted from the next one.
                base = self._after(index, raw)
                place = base - 2 * arg if "BACKWARD" in name else base + 2 * arg
                target = self._step_at(place, at, raw)
                self.leaders.add(target)
            self.steps.append((name, arg, target))
        self.handlers: dict[int, tuple[int, int, int]] = {}
        if code.co_exceptiontable:
            self._read_handlers(code.co_exceptiontable, at, raw)
        self.plan = [
            (STEPS.get(name), arg, target, index in self.leaders, self.handlers.get(index), "STORE_FAST" in name)
            for index, (name, arg, target) in enumerate(self.steps)
        ]
        self.names = (*code.co_varnames, *(n for n in code.co_cellvars if n not in code.co_varnames), *code.co_freevars)

    def _after(self, index: int, raw: bytes) -> int:
        offset = self.offsets[index] + 2
        while offset < len(raw) and not raw[offset]:
            offset += 2
        return offset

    def _step_at(self, offset: int, at: dict[int, int], raw: bytes) -> int:
        while 0 <= offset < len(raw) and not raw[offset]:
            offset += 2
        if offset not in at:
            raise OddCodeError("a jump leads nowhere")
        return at[offset]

    def _read_handlers(self, table: bytes, at: dict[int, int], raw: bytes) -> None:
        """Read ``co_exceptiontable`` (CPython's Objects/exception_handling_notes.txt)."""
        numbers, number = [], 0
        for byte in table:
            number = (number << 6) | (byte & 63)
            if not byte & 64:
                numbers.append(number)
                number = 0
        for place in range(0, len(numbers) - 3, 4):
            start, length, target, how = numbers[place : place + 4]
            to = self._step_at(2 * target, at, raw)
            self.leaders.add(to)
            # A table that no compiler wrote may name any length.
            for offset in range(2 * start, min(2 * (start + length), len(raw)), 2):
                if offset in at:
                    self.handlers.setdefault(at[offset], (to, how >> 1, how & 1))


class Frame:
    """One pass over one function's code with these values of its variables.

    Attributes
    ----------
    returned, yielded : Value
        What comes out.
    """

    def __init__(self, walk: Look, block: Block, scope: dict[str, Any], slots: list[Value], key: Any) -> None:
        self.walk = walk
        self.block = block
        self.code = block.code
        self.scope = scope
        self.key = key
        self.slots = slots
        self.stack: list[Value] = []
        self.returned: Value = NOTHING
        self.yielded: Value = NOTHING
        self.at = 0
        self.words: tuple[str, ...] = ()
        self.states: dict[int, tuple[list[Value], list[Value]]] = {}
        self.todo: list[int] = []

    # -- the way through the code -------------------------------------------------------------------------------------

    def run(self) -> None:
        """Carry out all blocks until nothing new comes in."""
        walk, plan = self.walk, self.block.plan
        self.reach(0, self.stack)
        while self.todo:
            self.at = start = self.todo.pop()
            stack, slots = self.states[start]
            self.stack, self.slots = stack.copy(), slots.copy()
            entered = None
            while True:
                if self.at >= len(plan):
                    raise OddCodeError("the code has no end")
                do, arg, target, is_leader, handler, stores = plan[self.at]
                if is_leader and self.at != start:
                    self.reach(self.at, self.stack)
                    break
                walk.spend()
                if handler is not None and handler is not entered:
                    self._enter(handler)
                    entered = handler
                if do is None:
                    raise OddCodeError(f"the instruction {self.block.steps[self.at][0]} is not known")
                if do(self, arg, target):
                    break
                if stores:
                    # The handler may be entered with the new value, too.
                    entered = None
                self.at += 1

    def reach(self, step: int, stack: list[Value]) -> None:
        """Note what stands on the stack and in the variables where a way leads."""
        known = self.states.get(step)
        if known is None:
            self.states[step] = stack.copy(), self.slots.copy()
            self.todo.append(step)
            return
        changed = False
        if len(known[0]) != len(stack):
            raise OddCodeError("the stack has two heights in one place")
        for old, new in ((known[0], stack), (known[1], self.slots)):
            for place, value in enumerate(new):
                if value is not old[place] and (both := joined(old[place], value)) != old[place]:
                    old[place] = both
                    changed = True
        if changed and step not in self.todo:
            self.todo.append(step)

    def _enter(self, handler: tuple[int, int, int]) -> None:
        to, depth, with_place = handler
        if depth > len(self.stack):
            raise OddCodeError("a handler wants more than there is")
        self.reach(to, [*self.stack[:depth], *([ATOMS] * with_place), one(self.walk.site("exception", None))])

    # -- helpers of the steps -----------------------------------------------------------------------------------------

    def pop(self) -> Value:
        """Take one value off the stack."""
        if not self.stack:
            raise OddCodeError("the stack is empty")
        return self.stack.pop()

    def pops(self, count: int) -> list[Value]:
        """Take some values off the stack, the lowest first."""
        if count > len(self.stack):
            raise OddCodeError("the stack is empty")
        if not count:
            return []
        taken = self.stack[-count:]
        del self.stack[-count:]
        return taken

    def site(self, kind: Any, more: Any = None) -> Site:
        """Return what this place of the code makes; ``kind``: its type, or a word for a thing of no known type."""
        return self.walk.site((self.key, self.at, more, kind), kind if isinstance(kind, type) else None)

    def name(self, index: int) -> str:
        """Return the name of a variable."""
        return self.block.names[index]

    def constant(self, index: int) -> Any:
        return self.code.co_consts[index]

    @property
    def line(self) -> int | None:
        """The line that the step comes from."""
        offset = self.block.offsets[self.at]
        return next((line for start, stop, line in self.code.co_lines() if start <= offset < stop), None)

    @property
    def only_asks(self) -> bool:
        """True if the value that is loaded is only asked if it is there (``if table is None:``)."""
        names = [name for name, _, _ in self.block.steps[self.at + 1 : self.at + 3]]
        return names[:1] == ["TO_BOOL"] or names[1:] == ["IS_OP"] or names[0].startswith("POP_JUMP")

    @property
    def adds_up(self) -> bool:
        """True if the value that is stored comes of an operator in place (``table[key] += 1``)."""
        names = [name for name, _, _ in self.block.steps[max(0, self.at - 3) : self.at]]
        return "BINARY_OP" in names and names[-1:] == ["SWAP"]

    def call(self, func: Value, args: list[Value], words: dict[str, Value], rest: Value = NOTHING) -> Value:
        return self.walk.call(func, args, words, rest)

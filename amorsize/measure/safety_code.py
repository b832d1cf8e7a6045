"""One function's bytecode, read step by step: which value stands where on the stack and in the variables.

Each instruction is carried out on `amorsize.measure.safety_values` instead of objects. Where two ways through the code
meet, a variable may hold what either brings; a block runs again until nothing new comes in. Handlers of exceptions are
entered from each instruction of their range. The instructions are those of CPython 3.11 to 3.13, by name; another one
makes the answer "unknown". Nothing is called.
"""

from __future__ import annotations

import opcode

from amorsize.measure.safety_values import ATOMS, NOTHING, NULL, Cell, Closure, Site, Value, joined, one

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType
    from typing import Any, Final

    from amorsize.measure.safety_calls import Look

# The in-place operators follow the others (Include/opcode.h: NB_INPLACE_ADD).
FIRST_IN_PLACE: Final = 13
# Since 3.12 the iterator of a loop that has ended stays on the stack until END_FOR.
ITERATOR_STAYS: Final = "END_FOR" in opcode.opmap
# Since 3.13 END_FOR takes one value, and the next instruction the other.
END_FOR_TAKES: Final = 1 if "TO_BOOL" in opcode.opmap else 2
# Until 3.12 the empty place of ``self`` is below the function.
NULL_FIRST: Final = "TO_BOOL" not in opcode.opmap
# Since 3.12 a bit of LOAD_ATTR says that a method is called.
ATTR_SHIFT: Final = 0 if "LOAD_METHOD" in opcode.opmap and "END_FOR" not in opcode.opmap else 1
GENERATOR: Final = 0x20
COROUTINES: Final = 0x80 | 0x200


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
    """

    __slots__ = ("code", "handlers", "leaders", "names", "offsets", "steps")

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
            for offset in range(2 * start, 2 * (start + length), 2):
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

    # -- the way through the code ----------------------------------------------------------------------------------

    def run(self) -> None:
        """Carry out all blocks until nothing new comes in."""
        block, walk = self.block, self.walk
        steps, leaders, handlers = block.steps, block.leaders, block.handlers
        self.reach(0, self.stack)
        while self.todo:
            self.at = self.todo.pop()
            stack, slots = self.states[self.at]
            self.stack, self.slots = stack.copy(), slots.copy()
            first, entered = True, None
            while True:
                if self.at in leaders and not first:
                    self.reach(self.at, self.stack)
                    break
                first = False
                walk.spend()
                name, arg, target = steps[self.at]
                handler = handlers.get(self.at)
                if handler is not None and (handler is not entered or name.startswith("STORE_FAST")):
                    self._enter(handler)
                    entered = handler
                do = STEPS.get(name)
                if do is None:
                    raise OddCodeError(f"the instruction {name} is not known")
                if do(self, arg, target):
                    break
                self.at += 1
                if self.at >= len(steps):
                    raise OddCodeError("the code has no end")

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
        self.reach(to, [*self.stack[:depth], *([ATOMS] * with_place), one(self.site("exception"))])

    # -- helpers of the steps ----------------------------------------------------------------------------------------

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

    def call(self, func: Value, args: list[Value], words: dict[str, Value], rest: Value = NOTHING) -> Value:
        return self.walk.call(func, args, words, rest)


# -- the instructions ------------------------------------------------------------------------------------------------------

Step = "Callable[[Frame, int, int], bool | None]"
STEPS: dict[str, Any] = {}


def step(*names: str) -> Any:
    """Register what carries out these instructions. It returns True where the way ends or leads elsewhere."""

    def add(do: Any) -> Any:
        STEPS.update(dict.fromkeys(names, do))
        return do

    return add


def _plain(takes: int, gives: int) -> Any:
    """Return what takes values off the stack, looks at none, and pushes immutable ones."""

    def do(f: Frame, arg: int, target: int) -> None:
        f.pops(takes)
        f.stack += [ATOMS] * gives

    return do


for _names, _takes, _gives in (
    ("NOP RESUME PRECALL COPY_FREE_VARS", 0, 0),
    ("POP_TOP POP_EXCEPT POP_ITER", 1, 0),
    ("UNARY_NOT TO_BOOL LOAD_ASSERTION_ERROR_TYPE", 1, 1),
    ("IS_OP", 2, 1),
    ("GET_LEN MATCH_MAPPING MATCH_SEQUENCE RETURN_GENERATOR", 0, 1),
    ("CHECK_EXC_MATCH", 1, 1),
    ("END_FOR", END_FOR_TAKES, 0),
):
    STEPS.update(dict.fromkeys(_names.split(), _plain(_takes, _gives)))


@step("LOAD_CONST")
def _load_const(f: Frame, arg: int, target: int) -> None:
    f.stack.append(f.walk.constant(f.constant(arg)))


@step("LOAD_SMALL_INT")
def _load_small_int(f: Frame, arg: int, target: int) -> None:
    f.stack.append(f.walk.constant(arg))


@step("LOAD_FAST", "LOAD_FAST_CHECK", "LOAD_CLOSURE", "LOAD_FAST_BORROW")
def _load_fast(f: Frame, arg: int, target: int) -> None:
    f.stack.append(f.slots[arg])


@step("LOAD_FAST_AND_CLEAR")
def _load_fast_and_clear(f: Frame, arg: int, target: int) -> None:
    f.stack.append(f.slots[arg])
    f.slots[arg] = NOTHING


@step("LOAD_FAST_LOAD_FAST", "LOAD_FAST_BORROW_LOAD_FAST_BORROW")
def _load_two(f: Frame, arg: int, target: int) -> None:
    f.stack += [f.slots[arg >> 4], f.slots[arg & 15]]


@step("STORE_FAST", "STORE_FAST_MAYBE_NULL")
def _store_fast(f: Frame, arg: int, target: int) -> None:
    f.slots[arg] = f.pop()


@step("STORE_FAST_STORE_FAST")
def _store_two(f: Frame, arg: int, target: int) -> None:
    f.slots[arg >> 4] = f.pop()
    f.slots[arg & 15] = f.pop()


@step("STORE_FAST_LOAD_FAST")
def _store_and_load(f: Frame, arg: int, target: int) -> None:
    f.slots[arg >> 4] = f.pop()
    f.stack.append(f.slots[arg & 15])


@step("DELETE_FAST")
def _delete_fast(f: Frame, arg: int, target: int) -> None:
    f.slots[arg] = NOTHING


@step("MAKE_CELL")
def _make_cell(f: Frame, arg: int, target: int) -> None:
    cell = f.walk.cell((f.key, "cell", arg), f.name(arg))
    f.walk.put(cell, f.slots[arg])
    f.slots[arg] = one(cell)


@step("LOAD_DEREF")
def _load_deref(f: Frame, arg: int, target: int) -> None:
    f.stack.append(f.walk.in_cell(f.slots[arg]))


@step("STORE_DEREF", "DELETE_DEREF")
def _store_deref(f: Frame, arg: int, target: int) -> None:
    value = f.pop() if f.block.steps[f.at][0] == "STORE_DEREF" else NOTHING
    for cell in f.slots[arg]:
        if isinstance(cell, Cell):
            if cell.outer is not None:
                f.walk.unsafe(f"writes the variable `{cell.name}` of an enclosing function")
            f.walk.put(cell, value)


@step("LOAD_GLOBAL")
def _load_global(f: Frame, arg: int, target: int) -> None:
    _push(f, f.walk.global_(f.scope, f.code.co_names[arg >> 1]), bool(arg & 1))


def _push(f: Frame, value: Value, with_null: bool) -> None:
    """Push a value, with the empty place of ``self`` if it is to be called."""
    f.stack += [value] if not with_null else [NULL, value] if NULL_FIRST else [value, NULL]


@step("STORE_GLOBAL", "DELETE_GLOBAL")
def _store_global(f: Frame, arg: int, target: int) -> bool:
    f.walk.unsafe(f"writes the global `{f.code.co_names[arg]}`")
    return True


@step("PUSH_NULL")
def _push_null(f: Frame, arg: int, target: int) -> None:
    f.stack.append(NULL)


@step("LOAD_ATTR")
def _load_attr(f: Frame, arg: int, target: int) -> None:
    _push(f, f.walk.get(f.pop(), f.code.co_names[arg >> ATTR_SHIFT]), bool(ATTR_SHIFT and arg & 1))


@step("LOAD_METHOD")
def _load_method(f: Frame, arg: int, target: int) -> None:
    _push(f, f.walk.get(f.pop(), f.code.co_names[arg]), True)


@step("LOAD_SUPER_ATTR")
def _load_super_attr(f: Frame, arg: int, target: int) -> None:
    _, kind, owner = f.pops(3)
    _push(f, f.walk.get(f.walk.super_of(kind, owner), f.code.co_names[arg >> 2]), bool(arg & 1))


@step("STORE_ATTR")
def _store_attr(f: Frame, arg: int, target: int) -> None:
    value, owner = f.pops(2)
    f.walk.set(owner, f.code.co_names[arg], value)


@step("DELETE_ATTR")
def _delete_attr(f: Frame, arg: int, target: int) -> None:
    f.walk.set(f.pop(), f.code.co_names[arg], NOTHING)


@step("BINARY_SUBSCR")
def _binary_subscr(f: Frame, arg: int, target: int) -> None:
    owner, key = f.pops(2)
    f.stack.append(f.walk.element(owner, key))


@step("BINARY_SLICE")
def _binary_slice(f: Frame, arg: int, target: int) -> None:
    owner, _, _ = f.pops(3)
    f.stack.append(f.walk.element(owner, f.walk.a_slice))


@step("STORE_SUBSCR")
def _store_subscr(f: Frame, arg: int, target: int) -> None:
    value, owner, key = f.pops(3)
    f.walk.set_element(owner, key, value)


@step("STORE_SLICE")
def _store_slice(f: Frame, arg: int, target: int) -> None:
    value, owner, _, _ = f.pops(4)
    f.walk.set_element(owner, f.walk.a_slice, f.walk.iterate(value))


@step("DELETE_SUBSCR")
def _delete_subscr(f: Frame, arg: int, target: int) -> None:
    owner, key = f.pops(2)
    f.walk.set_element(owner, key, NOTHING)


@step("BINARY_OP")
def _binary_op(f: Frame, arg: int, target: int) -> None:
    left, right = f.pops(2)
    f.stack.append(f.walk.operate(left, right, in_place=arg >= FIRST_IN_PLACE))


@step("UNARY_NEGATIVE", "UNARY_INVERT", "UNARY_POSITIVE")
def _unary(f: Frame, arg: int, target: int) -> None:
    f.stack.append(f.walk.operate(f.pop(), ATOMS, in_place=False))


@step("COMPARE_OP")
def _compare(f: Frame, arg: int, target: int) -> None:
    f.stack.append(f.walk.operate(*f.pops(2), in_place=False))


@step("CONTAINS_OP")
def _contains(f: Frame, arg: int, target: int) -> None:
    _, owner = f.pops(2)
    f.walk.ask(owner, ("__contains__",))
    f.walk.iterate(owner, over_items=False)
    f.stack.append(ATOMS)


@step("FORMAT_VALUE", "FORMAT_SIMPLE", "CONVERT_VALUE", "FORMAT_WITH_SPEC")
def _format(f: Frame, arg: int, target: int) -> None:
    name = f.block.steps[f.at][0]
    if name == "FORMAT_WITH_SPEC" or (name == "FORMAT_VALUE" and arg & 4):
        f.pop()
    f.walk.ask(f.pop(), ("__format__", "__str__", "__repr__"))
    f.stack.append(ATOMS)


@step("BUILD_STRING")
def _build_string(f: Frame, arg: int, target: int) -> None:
    f.pops(arg)
    f.stack.append(ATOMS)


@step("BUILD_TUPLE")
def _build_tuple(f: Frame, arg: int, target: int) -> None:
    f.stack.append(f.walk.made_tuple(f.site(tuple, arg), f.pops(arg)))


@step("BUILD_LIST", "BUILD_SET")
def _build_list(f: Frame, arg: int, target: int) -> None:
    parts = f.pops(arg)
    made = f.site(list if f.block.steps[f.at][0] == "BUILD_LIST" else set)
    f.walk.put(made, *parts)
    f.stack.append(one(made))


@step("BUILD_MAP")
def _build_map(f: Frame, arg: int, target: int) -> None:
    parts = f.pops(2 * arg)
    made = f.site(dict)
    for key, value in zip(parts[::2], parts[1::2], strict=True):
        f.walk.put_at(made, key, value)
    f.stack.append(one(made))


@step("BUILD_CONST_KEY_MAP")
def _build_const_key_map(f: Frame, arg: int, target: int) -> None:
    *parts, keys = f.pops(arg + 1)
    made = f.site(dict)
    for key, value in zip(f.walk.real(keys, tuple), parts, strict=True):
        f.walk.put_at(made, f.walk.constant(key), value)
    f.stack.append(one(made))


@step("BUILD_SLICE")
def _build_slice(f: Frame, arg: int, target: int) -> None:
    f.pops(arg)
    f.stack.append(f.walk.a_slice)


@step("LIST_APPEND", "SET_ADD")
def _list_append(f: Frame, arg: int, target: int) -> None:
    value = f.pop()
    f.walk.put_all(f.stack[-arg], value)


@step("MAP_ADD")
def _map_add(f: Frame, arg: int, target: int) -> None:
    _, value = f.pops(2)
    f.walk.put_all(f.stack[-arg], value)


@step("LIST_EXTEND", "SET_UPDATE")
def _list_extend(f: Frame, arg: int, target: int) -> None:
    value = f.pop()
    f.walk.extend(f.stack[-arg], value)


@step("DICT_UPDATE", "DICT_MERGE")
def _dict_update(f: Frame, arg: int, target: int) -> None:
    value = f.pop()
    f.walk.merge(f.stack[-arg], value)


@step("LIST_TO_TUPLE")
def _list_to_tuple(f: Frame, arg: int, target: int) -> None:
    """The list, just made, stands for the tuple."""


@step("CALL_INTRINSIC_1")
def _call_intrinsic(f: Frame, arg: int, target: int) -> None:
    # 3: StopIteration becomes RuntimeError; 5: +x; 6: list to tuple.
    if arg not in (3, 5, 6):
        raise OddCodeError(f"the instruction CALL_INTRINSIC_1 {arg} is not known")


@step("UNPACK_SEQUENCE")
def _unpack_sequence(f: Frame, arg: int, target: int) -> None:
    f.stack += f.walk.unpack(f.pop(), arg)[::-1]


@step("UNPACK_EX")
def _unpack_ex(f: Frame, arg: int, target: int) -> None:
    before, after = arg & 255, arg >> 8
    held = f.walk.iterate(f.pop())
    rest = f.site(list)
    f.walk.put(rest, held)
    f.stack += [held] * after + [one(rest)] + [held] * before


@step("GET_ITER", "GET_YIELD_FROM_ITER")
def _get_iter(f: Frame, arg: int, target: int) -> None:
    value = f.pop()
    iterator = f.site("iterator")
    f.walk.put(iterator, f.walk.iterate(value))
    f.stack.append(one(iterator))


@step("FOR_ITER")
def _for_iter(f: Frame, arg: int, target: int) -> None:
    iterator = f.pop()
    f.reach(target, [*f.stack, iterator, ATOMS] if ITERATOR_STAYS else f.stack)
    f.stack += [iterator, f.walk.held(iterator)]


@step("SEND")
def _send(f: Frame, arg: int, target: int) -> None:
    iterator, _ = f.pops(2)
    held = f.walk.held(iterator)
    f.reach(target, [*f.stack, iterator, held] if ITERATOR_STAYS else [*f.stack, held])
    f.stack += [iterator, held]


@step("END_SEND")
def _end_send(f: Frame, arg: int, target: int) -> None:
    _, value = f.pops(2)
    f.stack.append(value)


@step("CLEANUP_THROW")
def _cleanup_throw(f: Frame, arg: int, target: int) -> None:
    f.pops(3)
    f.stack += [ATOMS, ATOMS]


@step("YIELD_VALUE")
def _yield_value(f: Frame, arg: int, target: int) -> None:
    f.yielded = joined(f.yielded, f.pop())
    f.stack.append(ATOMS)


@step("JUMP_FORWARD", "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT")
def _jump(f: Frame, arg: int, target: int) -> bool:
    f.reach(target, f.stack)
    return True


@step(*(f"POP_JUMP_{way}IF_{what}" for way in ("", "FORWARD_", "BACKWARD_") for what in ("FALSE", "TRUE", "NONE", "NOT_NONE")))
def _pop_jump(f: Frame, arg: int, target: int) -> None:
    f.pop()
    f.reach(target, f.stack)


@step("JUMP_IF_FALSE_OR_POP", "JUMP_IF_TRUE_OR_POP")
def _jump_or_pop(f: Frame, arg: int, target: int) -> None:
    f.reach(target, f.stack)
    f.pop()


@step("COPY")
def _copy(f: Frame, arg: int, target: int) -> None:
    f.stack.append(f.stack[-arg])


@step("SWAP")
def _swap(f: Frame, arg: int, target: int) -> None:
    f.stack[-1], f.stack[-arg] = f.stack[-arg], f.stack[-1]


@step("RETURN_VALUE")
def _return_value(f: Frame, arg: int, target: int) -> bool:
    f.returned = joined(f.returned, f.pop())
    return True


@step("RETURN_CONST")
def _return_const(f: Frame, arg: int, target: int) -> bool:
    f.returned = joined(f.returned, f.walk.constant(f.constant(arg)))
    return True


@step("RAISE_VARARGS", "RERAISE")
def _raise(f: Frame, arg: int, target: int) -> bool:
    return True


@step("PUSH_EXC_INFO")
def _push_exc_info(f: Frame, arg: int, target: int) -> None:
    f.stack.insert(len(f.stack) - 1, ATOMS)


@step("WITH_EXCEPT_START", "MATCH_KEYS")
def _push_match(f: Frame, arg: int, target: int) -> None:
    held = f.walk.element(f.stack[-2], ATOMS) if f.block.steps[f.at][0] == "MATCH_KEYS" else NOTHING
    f.stack.append(one(f.walk.filled(f.site(tuple), held)) if held else ATOMS)


@step("MATCH_CLASS")
def _match_class(f: Frame, arg: int, target: int) -> None:
    subject, _, names = f.pops(3)
    held = [f.walk.get(subject, name) for name in f.walk.real(names, tuple)]
    f.stack.append(one(f.walk.filled(f.site(tuple), joined(subject, *held))))


@step("BEFORE_WITH")
def _before_with(f: Frame, arg: int, target: int) -> None:
    f.stack += [ATOMS, f.walk.enter(f.pop())]


@step("LOAD_ASSERTION_ERROR")
def _load_assertion_error(f: Frame, arg: int, target: int) -> None:
    f.stack.append(f.walk.constant(AssertionError))


@step("IMPORT_NAME")
def _import_name(f: Frame, arg: int, target: int) -> None:
    level, names = f.pops(2)
    level_of, from_names = f.walk.real(level, int), f.walk.real(names, tuple)
    f.stack.append(f.walk.module(f.code.co_names[arg], level_of, bool(from_names), f.scope))


@step("IMPORT_FROM")
def _import_from(f: Frame, arg: int, target: int) -> None:
    f.stack.append(f.walk.get(f.stack[-1], f.code.co_names[arg]))


@step("KW_NAMES")
def _kw_names(f: Frame, arg: int, target: int) -> None:
    f.words = f.constant(arg)


@step("CALL", "CALL_KW")
def _call(f: Frame, arg: int, target: int) -> None:
    words = f.walk.real(f.pop(), tuple) if f.block.steps[f.at][0] == "CALL_KW" else f.words
    f.words = ()
    args = f.pops(arg)
    func, args = _callee(f, args)
    plain = len(args) - len(words)
    f.stack.append(f.call(func, args[:plain], dict(zip(words, args[plain:], strict=True))))


def _callee(f: Frame, args: list[Value]) -> tuple[Value, list[Value]]:
    """Take the function off the stack: it stands above or below the empty place of ``self``, or its ``self`` above."""
    below, above = f.pops(2)
    if below is NULL:
        return above, args
    return (below, args) if above is NULL else (below, [above, *args])


@step("CALL_FUNCTION_EX")
def _call_function_ex(f: Frame, arg: int, target: int) -> None:
    words = f.pop() if arg & 1 else NOTHING
    spread = f.pop()
    func, args = _callee(f, [])
    first, rest = f.walk.spread(spread)
    named, more = f.walk.spread_words(words)
    f.stack.append(f.call(func, [*args, *first], named, joined(rest, more)))


@step("MAKE_FUNCTION")
def _make_function(f: Frame, arg: int, target: int) -> None:
    code = f.walk.real(f.pop(), type(f.code))
    made = f.walk.closure((f.key, f.at), code, f.scope)
    # Only before 3.13: later the flags come one by one.
    for flag, name in ((8, "cells"), (4, ""), (2, "kwdefaults"), (1, "defaults")):
        if arg & flag:
            value = f.pop()
            if name:
                f.walk.grow(made, name, value)
    f.stack.append(one(made))


@step("SET_FUNCTION_ATTRIBUTE")
def _set_function_attribute(f: Frame, arg: int, target: int) -> None:
    value, func = f.pops(2)
    name = {1: "defaults", 2: "kwdefaults", 8: "cells"}.get(arg)
    for made in func:
        if name and isinstance(made, Closure):
            f.walk.grow(made, name, value)
    f.stack.append(func)


"""The instructions of CPython 3.11 to 3.13 that move values: constants, variables, the stack, loops, jumps.

They are known by name. One that is not known makes the answer "unknown".
"""

from __future__ import annotations

import opcode

from amorsize.measure.safety.code import STEPS, Frame, step
from amorsize.measure.safety.uses import TRUTH, WHOLE
from amorsize.measure.safety.values import ATOMS, NOTHING, NULL, Cell, Value, joined, one

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from amorsize.measure.safety.code import Step

# Since 3.12 the iterator of a loop that has ended stays on the stack until END_FOR.
ITERATOR_STAYS: Final = "END_FOR" in opcode.opmap
# Since 3.13 END_FOR takes one value, and the next instruction the other.
END_FOR_TAKES: Final = 1 if "TO_BOOL" in opcode.opmap else 2
# Until 3.12 the empty place of ``self`` is below the function.
NULL_FIRST: Final = "TO_BOOL" not in opcode.opmap
# Since 3.12 a bit of LOAD_ATTR says that a method is called.
ATTR_SHIFT: Final = 1 if ITERATOR_STAYS else 0


def _plain(takes: int, gives: int) -> Step:
    """Return what takes values off the stack, looks at none, and pushes immutable ones."""

    def do(f: Frame, arg: int, target: int) -> None:
        f.pops(takes)
        f.stack += [ATOMS] * gives

    return do


for _names, _takes, _gives in (
    ("NOP RESUME PRECALL COPY_FREE_VARS", 0, 0),
    ("POP_TOP POP_EXCEPT POP_ITER", 1, 0),
    ("IS_OP", 2, 1),
    ("MATCH_MAPPING MATCH_SEQUENCE RETURN_GENERATOR", 0, 1),
    ("CHECK_EXC_MATCH", 1, 1),
    ("END_FOR", END_FOR_TAKES, 0),
):
    STEPS.update(dict.fromkeys(_names.split(), _plain(_takes, _gives)))


@step("UNARY_NOT", "TO_BOOL")
def _to_bool(f: Frame, arg: int, target: int) -> None:
    f.walk.use(f.pop(), TRUTH, into=WHOLE)
    f.stack.append(ATOMS)


@step("GET_LEN")
def _get_len(f: Frame, arg: int, target: int) -> None:
    f.walk.use(f.stack[-1], TRUTH, into=WHOLE)
    f.stack.append(ATOMS)


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
                f.walk.state.write(id(cell.outer))
                f.walk.unsafe(f"writes the variable `{cell.name}` of an enclosing function")
            f.walk.put(cell, value)


@step("LOAD_GLOBAL")
def _load_global(f: Frame, arg: int, target: int) -> None:
    push(f, f.walk.global_(f.scope, f.code.co_names[arg >> 1]), bool(arg & 1))


def push(f: Frame, value: Value, with_null: bool) -> None:
    """Push a value, with the empty place of ``self`` if it is to be called."""
    f.stack += [value] if not with_null else [NULL, value] if NULL_FIRST else [value, NULL]


@step("STORE_GLOBAL", "DELETE_GLOBAL")
def _store_global(f: Frame, arg: int, target: int) -> None:
    name = f.code.co_names[arg]
    if f.block.steps[f.at][0] == "STORE_GLOBAL":
        f.pop()
    f.walk.state.write((id(f.scope), name))
    f.walk.unsafe(f"writes the global `{name}`")


@step("PUSH_NULL")
def _push_null(f: Frame, arg: int, target: int) -> None:
    f.stack.append(NULL)


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


@step(*(f"POP_JUMP_{way}IF_{what}" for way in ("", "FORWARD_", "BACKWARD_") for what in ("NONE", "NOT_NONE")))
def _jump_if_none(f: Frame, arg: int, target: int) -> None:
    f.pop()
    f.reach(target, f.stack)


@step(*(f"POP_JUMP_{way}IF_{what}" for way in ("", "FORWARD_", "BACKWARD_") for what in ("FALSE", "TRUE")))
def _pop_jump(f: Frame, arg: int, target: int) -> None:
    f.walk.use(f.pop(), TRUTH, into=WHOLE)
    f.reach(target, f.stack)


@step("JUMP_IF_FALSE_OR_POP", "JUMP_IF_TRUE_OR_POP")
def _jump_or_pop(f: Frame, arg: int, target: int) -> None:
    f.reach(target, f.stack)
    f.walk.use(f.pop(), TRUTH, into=WHOLE)


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
    if f.block.steps[f.at][0] == "RAISE_VARARGS":
        f.walk.raises(f.pops(arg))
    return True


@step("PUSH_EXC_INFO")
def _push_exc_info(f: Frame, arg: int, target: int) -> None:
    f.stack.insert(len(f.stack) - 1, ATOMS)


@step("LOAD_ASSERTION_ERROR")
def _load_assertion_error(f: Frame, arg: int, target: int) -> None:
    f.stack.append(f.walk.constant(AssertionError))


@step("IMPORT_NAME")
def _import_name(f: Frame, arg: int, target: int) -> None:
    level, names = f.pops(2)
    level_of, from_names = f.walk.real(level, int), f.walk.real(names, tuple)
    f.stack.append(f.walk.module(f.code.co_names[arg], level_of, bool(from_names), f.scope))

"""The instructions of CPython 3.11 to 3.13 that ask objects: attributes, elements, operators, calls, new containers."""

from __future__ import annotations

import opcode
import sys

from amorsize.measure.safety.code import Frame, OddCodeError, step
from amorsize.measure.safety.steps import ATTR_SHIFT, push
from amorsize.measure.safety.uses import CHECKS, COMPARES, EQUALS, FORMATS, HASHED, MAPS, SEARCHES, WHOLE
from amorsize.measure.safety.values import ATOMS, LEAVING, NOTHING, NULL, Closure, Value, joined, one

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# The in-place operators follow the others (Include/opcode.h: NB_INPLACE_ADD).
FIRST_IN_PLACE: Final = 13
# Where the number of the comparison begins in its argument.
COMPARE_SHIFT: Final = {(3, 11): 0, (3, 12): 4}.get(sys.version_info[:2], 5)


@step("LOAD_ATTR")
def _load_attr(f: Frame, arg: int, target: int) -> None:
    push(f, f.walk.get(f.pop(), f.code.co_names[arg >> ATTR_SHIFT]), bool(ATTR_SHIFT and arg & 1))


@step("LOAD_METHOD")
def _load_method(f: Frame, arg: int, target: int) -> None:
    push(f, f.walk.get(f.pop(), f.code.co_names[arg]), True)


@step("LOAD_SUPER_ATTR")
def _load_super_attr(f: Frame, arg: int, target: int) -> None:
    _, kind, owner = f.pops(3)
    push(f, f.walk.get(f.walk.super_of(kind, owner), f.code.co_names[arg >> 2]), bool(arg & 1))


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
    owner, *ends = f.pops(3)
    f.walk.use(joined(*ends), HASHED)
    f.stack.append(f.walk.element(owner, f.walk.a_slice))


@step("STORE_SUBSCR")
def _store_subscr(f: Frame, arg: int, target: int) -> None:
    value, owner, key = f.pops(3)
    f.walk.set_element(owner, key, value)


@step("STORE_SLICE")
def _store_slice(f: Frame, arg: int, target: int) -> None:
    value, owner, *ends = f.pops(4)
    f.walk.use(joined(*ends), HASHED)
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
    how = opcode.cmp_op[arg >> COMPARE_SHIFT] if arg >> COMPARE_SHIFT < len(opcode.cmp_op) else ""
    names = EQUALS if how in ("==", "!=") else COMPARES
    f.stack.append(f.walk.operate(*f.pops(2), in_place=False, names=names))


@step("CONTAINS_OP")
def _contains(f: Frame, arg: int, target: int) -> None:
    wanted, owner = f.pops(2)
    f.walk.use(wanted, HASHED)
    f.walk.use(owner, SEARCHES, wanted)
    f.walk.iterate(f.walk.searched(owner), over_items=False)
    f.stack.append(ATOMS)


@step("FORMAT_VALUE", "FORMAT_SIMPLE", "CONVERT_VALUE", "FORMAT_WITH_SPEC")
def _format(f: Frame, arg: int, target: int) -> None:
    name = f.block.steps[f.at][0]
    if name == "FORMAT_WITH_SPEC" or (name == "FORMAT_VALUE" and arg & 4):
        f.pop()
    f.walk.use(f.pop(), FORMATS)
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
    if made.kind is set:
        f.walk.use(joined(*parts), HASHED)
    f.walk.put(made, *parts)
    f.stack.append(one(made))


@step("BUILD_MAP")
def _build_map(f: Frame, arg: int, target: int) -> None:
    parts = f.pops(2 * arg)
    made = f.site(dict)
    f.walk.use(joined(*parts[::2]), HASHED)
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
    f.walk.use(joined(*f.pops(arg)), HASHED)
    f.stack.append(f.walk.a_slice)


@step("LIST_APPEND", "SET_ADD")
def _list_append(f: Frame, arg: int, target: int) -> None:
    value = f.pop()
    if f.block.steps[f.at][0] == "SET_ADD":
        f.walk.use(value, HASHED)
    f.walk.put_all(f.stack[-arg], value)


@step("MAP_ADD")
def _map_add(f: Frame, arg: int, target: int) -> None:
    key, value = f.pops(2)
    f.walk.use(key, HASHED)
    f.walk.put_all(f.stack[-arg], joined(value, NOTHING if f.walk.are_atoms(key) else key))


@step("LIST_EXTEND", "SET_UPDATE")
def _list_extend(f: Frame, arg: int, target: int) -> None:
    value = f.pop()
    if f.block.steps[f.at][0] == "SET_UPDATE":
        f.walk.use(value, HASHED)
    f.walk.extend(f.stack[-arg], value)


@step("DICT_UPDATE", "DICT_MERGE")
def _dict_update(f: Frame, arg: int, target: int) -> None:
    value = f.pop()
    f.walk.use(value, MAPS, into=WHOLE)
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


@step("WITH_EXCEPT_START", "MATCH_KEYS")
def _push_match(f: Frame, arg: int, target: int) -> None:
    held = NOTHING
    if f.block.steps[f.at][0] == "MATCH_KEYS":
        f.walk.use(f.stack[-2], MAPS, into=WHOLE)
        held = f.walk.element(f.stack[-2], ATOMS)
    f.stack.append(one(f.walk.filled(f.site(tuple), held)) if held else ATOMS)


@step("MATCH_CLASS")
def _match_class(f: Frame, arg: int, target: int) -> None:
    subject, kinds, names = f.pops(3)
    f.walk.use(kinds, CHECKS)
    by_place = f.walk.match_args(kinds)[:arg]
    held = [f.walk.get(subject, name) for name in (*by_place, *f.walk.real(names, tuple))]
    f.stack.append(one(f.walk.filled(f.site(tuple), joined(subject, *held))))


@step("BEFORE_WITH")
def _before_with(f: Frame, arg: int, target: int) -> None:
    f.stack += [LEAVING, f.walk.enter(f.pop())]


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
    f.walk.use(words, MAPS, into=WHOLE)
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

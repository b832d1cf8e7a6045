"""What calls do: functions written in Python are walked through, others are looked up in the tables.

See `amorsize.measure.safety.tables` for the tables, `amorsize.measure.safety.walk` for the rest of the walk.
"""

from __future__ import annotations

import sys
from functools import partial
from types import (
    BuiltinFunctionType,
    FunctionType,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    WrapperDescriptorType,
)

import amorsize.measure.safety.object_steps  # noqa: F401  (it registers instructions)
from amorsize.measure.safety.code import COROUTINES, GENERATOR, Block, Frame
from amorsize.measure.safety.ground import TooMuchError
from amorsize.measure.safety.lending import is_getter
from amorsize.measure.safety.methods import Methods
from amorsize.measure.safety.tables import ATOMIC, HOLDS, what_of
from amorsize.measure.safety.types import (
    call_rule,
    is_the_users,
    is_written_in_python,
    members_of,
    names_of,
    nature,
    own_attributes,
    python_method,
    rule_of,
)
from amorsize.measure.safety.uses import ENDS, HASHED, WHOLE
from amorsize.measure.safety.values import (
    ANY,
    ATOMS,
    LEAVES,
    NOTHING,
    Closure,
    Item,
    Method,
    Named,
    Outer,
    Site,
    Thing,
    Value,
    joined,
    of_each,
    one,
)
from amorsize.system.looks import attribute, defined
from amorsize.system.starred import starred

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType
    from typing import Any, Final

# guess: functions within functions
DEEPEST_CALLS: Final = 24
# guess: calls of a function with other values that are told apart
MOST_CONTEXTS: Final = 6
VARARGS: Final = 0x04
VARKEYWORDS: Final = 0x08
_MODULE_RANDOM: Final = (("random", "_inst", "random"), ("numpy.random.mtrand", "_rand", "numpy.random"))


class _Summary:
    """What a function gives for these arguments. ``walked``: the pass in which it was walked through last."""

    __slots__ = ("is_active", "is_read", "result", "walked")

    def __init__(self) -> None:
        self.result: Value = NOTHING
        self.walked = -1
        self.is_active = self.is_read = False


class Look(Methods):
    """One look at one function: see `amorsize.measure.thread_safety.look`."""

    def __init__(self) -> None:
        super().__init__()
        self.summaries: dict[Any, _Summary] = {}
        self.blocks: dict[int, Block] = {}
        self.contexts: dict[int, set[Any]] = {}
        self.wide: dict[int, list[Value]] = {}
        self.passes = 0

    def call(self, func: Value, args: list[Value], words: dict[str, Value], rest: Value = NOTHING) -> Value:
        """Return what a call gives. ``rest``: what arguments of unknown number may be."""
        return of_each(func, lambda thing: self._call(thing, args, words, rest))

    def _call(self, thing: Thing, args: list[Value], words: dict[str, Value], rest: Value) -> Value:
        if isinstance(thing, Outer):
            if thing.objs:
                return joined(*(self._call_object(obj, thing, args, words, rest) for obj in thing.objs))
            self.unknown(f"calls {self.called(thing)}, of which nothing is known")
            return ANY
        if isinstance(thing, Method):
            return self.call_method(thing, args, words, rest)
        if isinstance(thing, Closure):
            return self._call_closure(thing, args, words, rest)
        if isinstance(thing, Site):
            if thing.kind is not None and is_getter(thing.kind):
                return self.get_by(thing, thing.kind, args[0] if args else rest)
            method = python_method(thing.kind, "__call__") if thing.kind is not None else None
            if method is not None:
                return self.call_function(method, [one(thing), *args], words, rest)
            self.lend(joined(self.held(one(thing)), *args, *words.values(), rest), "something made in the call")
            return joined(one(thing), self.held(one(thing)))
        if isinstance(thing, Named):
            module, _, name = thing.path.rpartition(".")
            return self.apply(what_of(module, name), thing.path, args, words, rest)
        if isinstance(thing, Item):
            self.unknown(f"calls {self.called(thing)}, and other items may be other functions")
        elif thing is LEAVES:
            return ATOMS
        else:
            self.unknown("calls something that cannot be told")
        return ANY

    def _call_object(self, obj: Any, thing: Outer, args: list[Value], words: dict[str, Value], rest: Value) -> Value:
        kind = type(obj)
        if kind is FunctionType:
            return self.call_function(obj, args, words, rest)
        if kind is BuiltinFunctionType:
            return self._call_builtin(obj, thing, args, words, rest)
        if kind is MethodType:
            shared = _shared_generator(obj.__self__)
            if shared:
                return self.apply(what_of(shared, _name(obj)), f"{shared}.{_name(obj)}", args, words, rest)
            owner = self.outer(obj.__self__, "the object that the method belongs to")
            return self.call(self.outer(obj.__func__, "a method"), [owner, *args], words, rest)
        if issubclass(kind, partial):
            func, bound, named = (partial.__dict__[name].__get__(obj) for name in ("func", "args", "keywords"))
            first = [self.outer(one_of, "an argument of the partial") for one_of in bound]
            given = {
                name: self.outer(held, f"the argument `{name}` of the partial") for name, held in dict.items(named)
            }
            if kind is starred:
                args, rest = self._elements(args, rest)
            return self.call(self.outer(func, "the function of a partial"), [*first, *args], {**given, **words}, rest)
        if issubclass(kind, type):
            return self.call_class(obj, thing, args, words, rest)
        if names_of(kind) == ("functools", "_lru_cache_wrapper"):
            wrapped = (own_attributes(obj) or {}).get("__wrapped__")
            if type(wrapped) is FunctionType and rule_of(wrapped) is not None:
                return self.call_function(wrapped, args, words, rest)
            self.use(joined(*args, *words.values(), rest), HASHED)
            return self.outlived(self.call(self.outer(wrapped, "a cached function"), args, words, rest))
        if kind is MethodDescriptorType or kind is WrapperDescriptorType:
            owners = args[0] if args else rest
            return self.call(frozenset([self.method(owner, _name(obj)) for owner in owners]), args[1:], words, rest)
        if kind is MethodWrapperType:
            belongs = self.outer_thing(obj.__self__, f"what `{_name(obj)}` belongs to")
            return self.call_method(self.method(belongs, _name(obj)), args, words, rest)
        if kind is staticmethod:
            return self.call(self.outer(obj.__func__, "a function"), args, words, rest)
        method = python_method(kind, "__call__")
        if method is not None:
            return self.call_function(method, [one(thing), *args], words, rest)
        module, name = names_of(kind)
        if (module, name) == ("numpy", "ufunc") and _is_of_numpy(obj):
            for out in args[attribute(obj, "nin") or 1 :]:
                self.mutate(out, "writes into")
            return self.apply("new", f"numpy.{attribute(obj, '__name__')}", args, words, rest)
        held = own_attributes(obj) or {}
        of = [held.get(key) or attribute(obj, key) for key in ("__module__", "__qualname__")]
        if is_getter(kind):
            return self.get_by(thing, kind, args[0] if args else rest)
        if not is_written_in_python(kind) and all(type(text) is str for text in of):
            return self.apply(what_of(*of), ".".join(of), args, words, rest)
        self.unknown(f"calls {self.called(thing)}, a {name}, of which nothing is known")
        return ANY

    def _elements(self, args: list[Value], rest: Value) -> tuple[list[Value], Value]:
        """Return the arguments of a function of `starmap`, and what those of unknown number may be."""
        item = joined(*args, rest)
        lengths = {
            len(obj) if type(obj) in (tuple, list) else None for thing in item for obj in getattr(thing, "objs", ())
        }
        if len(lengths) == 1 and (count := lengths.pop()) is not None:
            return self.unpack(item, count), NOTHING
        return [], self.iterate(item)

    def _call_builtin(self, obj: Any, thing: Outer, args: list[Value], words: dict[str, Value], rest: Value) -> Value:
        owner, name = obj.__self__, _name(obj)
        if owner is None or issubclass(type(owner), ModuleType):
            module = obj.__module__
            if type(module) is not str and type(obj.__qualname__) is str:
                # A static method of a built-in type: str.maketrans.
                module, name = "builtins", obj.__qualname__
            full = f"{module}.{name}"
            return self.apply(what_of(module, name) if type(module) is str else None, full, args, words, rest)
        if shared := _shared_generator(owner):
            return self.apply(what_of(shared, name), f"{shared}.{name}", args, words, rest)
        return self.call_method(
            self.method(self.outer_thing(owner, f"what `{name}` belongs to"), name), args, words, rest
        )

    # -- functions written in Python ----------------------------------------------------------------------------------

    def call_function(
        self, func: Any, args: list[Value], words: dict[str, Value] | None = None, rest: Value = NOTHING
    ) -> Value:
        """Return what a function written in Python gives."""
        words = words or {}
        if type(func) is not FunctionType:
            return self.call(self.outer(func, "a function"), args, words, rest)
        rule = rule_of(func)
        code = func.__code__
        module = dict.get(func.__globals__, "__name__")
        if rule is not None:
            return self.apply(rule, f"{module}.{code.co_qualname}", args, words, rest)
        closure = func.__closure__ or ()
        if module == "contextlib" and code.co_qualname == "contextmanager.<locals>.helper":
            inner = self.call(self.outer(closure[0].cell_contents, "a function"), args, words, rest)
            return one(self.filled(self.site(("context", func), None), self.held(inner)))
        if module == "functools" and code.co_qualname == "singledispatch.<locals>.wrapper":
            # Any of the functions that are registered.
            known = self.outer_thing(func.__dict__.get("registry"), "the registry")
            return self.call(self.parts_of(known, values=True), args, words, rest)
        defaults: dict[str, Value] = {}
        given = func.__defaults__
        given = () if given is None else tuple.__getitem__(given, slice(None))
        by_name = func.__kwdefaults__
        names = code.co_varnames[: code.co_argcount]
        for name, held in (
            *zip(names[len(names) - len(given) :], given, strict=False),
            *({} if by_name is None else dict.items(by_name)),
        ):
            defaults[name] = self.outer(held, f"the default of `{name}`")
        cells: list[Value] = []
        for name, cell in zip(code.co_freevars, closure, strict=False):
            made = self.cell(id(cell), name, cell)
            if not made.elements:
                self.kept.append(cell)
                try:
                    made.elements = self.outer(cell.cell_contents, f"`{name}` of an enclosing function")
                except ValueError:
                    # An empty cell.
                    made.elements = ATOMS
            cells.append(one(made))
        return self._run(code, func.__globals__, cells, self._bind(code, args, words, rest, defaults))

    def _call_closure(self, made: Closure, args: list[Value], words: dict[str, Value], rest: Value) -> Value:
        code = made.code
        defaults: dict[str, Value] = {}
        names = code.co_varnames[: code.co_argcount]
        for thing in made.defaults:
            if isinstance(thing, Site):
                values = [thing.fields.get(index, NOTHING) for index in range(len(thing.fields))]
            elif isinstance(thing, Outer) and thing.objs and type(thing.objs[0]) is tuple:
                values = [self.constant(one_of) for one_of in thing.objs[0]]
            else:
                continue
            defaults.update(zip(names[len(names) - len(values) :], values, strict=False))
        for thing in made.kwdefaults:
            if isinstance(thing, Site):
                defaults.update(thing.fields)
        cells: list[Value] = [NOTHING] * len(code.co_freevars)
        for thing in made.cells:
            if isinstance(thing, Site):
                for index, held in thing.fields.items():
                    cells[index] = joined(cells[index], held)
        return self._run(code, made.globals, cells, self._bind(code, args, words, rest, defaults))

    def _bind(
        self, code: CodeType, args: list[Value], words: dict[str, Value], rest: Value, defaults: dict[str, Value]
    ) -> list[Value]:
        """Return the values of a function's parameters. One that is not given, and has no default, never runs."""
        by_place, count = code.co_argcount, code.co_argcount + code.co_kwonlyargcount
        names = code.co_varnames[:count]
        bound: list[Value] = []
        for index, name in enumerate(names):
            if index < by_place and index < len(args):
                bound.append(args[index])
            elif name in words:
                bound.append(words[name])
            else:
                bound.append(joined(defaults.get(name, NOTHING), rest) or ATOMS)
        if code.co_flags & VARARGS:
            more = args[by_place:]
            made = self.site((id(code), "args", *more, rest), tuple)
            self.put(made, rest)
            bound.append(self.made_tuple(made, more))
        if code.co_flags & VARKEYWORDS:
            left = {name: held for name, held in words.items() if name not in names}
            made = self.site((id(code), "words", *left.items(), rest), dict)
            self.put(made, rest)
            for name, held in left.items():
                self.put_field(made, name, held)
            bound.append(one(made))
        return bound

    def _run(self, code: CodeType, scope: dict[str, Any], cells: list[Value], bound: list[Value]) -> Value:
        """Walk through a function's code, once for the same arguments in each pass."""
        if code.co_flags & COROUTINES:
            self.unknown(f"calls `{code.co_name}`, which makes a coroutine")
            return ANY
        key: tuple[Any, ...] = (id(code), *bound, *cells)
        known = self.contexts.setdefault(id(code), set())
        known.add(key)
        if len(known) > MOST_CONTEXTS or any(frame.code is code for frame in self.frames):
            # A function that is called with ever new values, or calls itself: from here on all of them are one.
            wide = self.wide.get(id(code))
            values = [*bound, *cells]
            if wide is not None:
                values = [joined(*pair) for pair in zip(values, wide, strict=True)]
            self.changed |= values != wide
            self.wide[id(code)] = values
            bound, cells = values[: len(bound)], values[len(bound) :]
            key = (id(code),)
        summary = self.summaries.get(key)
        if summary is None:
            summary = self.summaries[key] = _Summary()
        if summary.is_active:
            summary.is_read = True
        if summary.is_active or summary.walked == self.passes:
            return summary.result
        if len(self.frames) >= DEEPEST_CALLS:
            raise TooMuchError("calls too many functions within each other", self.where)
        block = self.blocks.get(id(code))
        if block is None:
            self.kept.append(code)
            # An instruction takes two bytes and its caches, and a tenth of the time to decode.
            self.spend(len(code.co_code) // 40)
            block = self.blocks[id(code)] = Block(code)
        # To enter a function takes as long as three instructions.
        self.spend(3)
        slots = [*bound, *([NOTHING] * (len(block.names) - len(bound)))]
        slots[len(slots) - len(code.co_freevars) :] = cells
        frame = Frame(self, block, scope, slots, key)
        self.frames.append(frame)
        summary.is_active, summary.walked = True, self.passes
        frame.run()
        self.frames.pop()
        summary.is_active = False
        result = frame.returned
        if code.co_flags & GENERATOR:
            result = one(self.filled(self.site((key, "generator"), None), frame.yielded))
        if result != summary.result:
            self.changed |= summary.is_read
            summary.result = joined(summary.result, result)
        return summary.result

    def outlived(self, value: Value) -> Value:
        """Return what a call gave, as something that a cache keeps for other calls."""
        found = NOTHING
        for thing in value:
            if isinstance(thing, Site):
                key = ("kept", thing)
                kept = self.things.get(key)
                if kept is None:
                    kept = self.things[key] = Outer((), "what a cache keeps", kind=thing.kind)
                    kept.inner = self.outlived(self.held(one(thing)))
                found |= one(kept)
            elif isinstance(thing, Item | Closure | Method):
                found |= ANY
            else:
                found |= one(thing)
        return found

    # -- classes ------------------------------------------------------------------------------------------------------

    def call_class(self, kind: type, thing: Outer, args: list[Value], words: dict[str, Value], rest: Value) -> Value:
        """Return what a class makes."""
        name = ".".join(names_of(kind))
        if kind is super:
            return self._super(args)
        if kind is type and len(args) < 2:
            return joined(*(self._class_of(one_of) for one_of in args[0])) if args else ATOMS
        rule = call_rule(kind)
        if rule is not None:
            return self.apply(rule, name, args, words, rest, kind)
        maker = python_method(type(kind), "__call__")
        if maker is not None:
            return self.call_function(maker, [one(thing), *args], words, rest)
        what = nature(kind)
        members = members_of(kind)
        if what == ATOMIC and (members is not None or not is_the_users(kind)):
            self.lend(joined(*args, *words.values(), rest), f"`{name}`")
            if members is not None and (finder := defined(kind, "_missing_")) is not None:
                self.call(one(self.method(thing, "_missing_", finder.__func__)), args, {}, rest)
            return ATOMS if members is None else self.like(thing, list(members.values()), "parts")
        new = defined(kind, "__new__")
        new = new.__func__ if type(new) is staticmethod else new
        if type(new) is FunctionType and rule_of(new) is None:
            made = self.call_function(new, [one(thing), *args], words, rest)
        else:
            site = self.here("instance", kind)
            if what == HOLDS:
                self.put(site, *(self.iterate(value) for value in args), *words.values())
            made = one(site)
        init = defined(kind, "__init__")
        if type(init) is FunctionType and rule_of(init) is None:
            for one_of in made:
                if self.kind_of(one_of) is kind:
                    self.call_function(init, [one(one_of), *args], words, rest)
        else:
            self.lend(joined(*args, *words.values(), rest), f"`{name}`")
            if type(init) is FunctionType:
                self.call_back(made)
            if not is_written_in_python(kind) and what is None and not issubclass(kind, BaseException):
                self.unknown(f"makes a `{name}`, of which nothing is known")
            if issubclass(kind, BaseException):
                for one_of in made:
                    if isinstance(one_of, Site):
                        self.put(one_of, *args)
        self.use(made, ENDS, into=WHOLE)
        return made

    def _class_of(self, thing: Thing) -> Value:
        kind = self.kind_of(thing)
        return ATOMS if kind is None else self.outer(kind, f"the class `{names_of(kind)[1]}`")

    def _super(self, args: list[Value]) -> Value:
        if len(args) >= 2:
            return self.super_of(args[0], args[1])
        frame = self.frames[-1]
        if "__class__" not in frame.code.co_freevars or not frame.block.names:
            return ANY
        return self.super_of(self.in_cell(frame.slots[frame.block.names.index("__class__")]), self._first(frame))

    def _first(self, frame: Frame) -> Value:
        first = frame.slots[0]
        return self.in_cell(first) or first


def _name(obj: Any) -> str:
    """Return the name of a compiled function, or of the function of a method."""
    if type(obj) is not MethodType:
        return obj.__name__  # type: ignore[no-any-return]
    func = obj.__func__
    name = func.__code__.co_name if type(func) is FunctionType else attribute(func, "__name__")
    return name if type(name) is str else ""


def _shared_generator(owner: object) -> str | None:
    """Return the module whose functions draw from this generator; None for another object."""
    for module, name, shown in _MODULE_RANDOM:
        scope = own_attributes(sys.modules.get(module)) or {}
        if owner is scope.get(name, scope):
            return shown
    return None


def _is_of_numpy(func: Any) -> bool:
    """Return True for numpy's own ufuncs: `numpy.frompyfunc` makes others, of a function written in Python."""
    scope = own_attributes(sys.modules.get("numpy")) or {}
    return scope.get(attribute(func, "__name__")) is func

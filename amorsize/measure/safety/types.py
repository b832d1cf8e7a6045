"""What is known of a type for the look at a function, without asking its objects anything."""

from __future__ import annotations

import sys
from collections import deque
from itertools import islice
from types import FunctionType, GetSetDescriptorType, MemberDescriptorType

from amorsize.measure.safety.tables import ATOMIC, BAD, HOLDS, KINDS, what_of
from amorsize.system.looks import ATOMS, defined

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

_mro: Final[Any] = type.__dict__["__mro__"].__get__
_flags: Final[Any] = type.__dict__["__flags__"].__get__
_namespace: Final[Any] = type.__dict__["__dict__"].__get__
_name: Final[Any] = type.__dict__["__qualname__"].__get__
_module: Final[Any] = type.__dict__["__module__"].__get__
# Bits of type.__flags__ (Include/object.h): a class made at run time; one that nothing can change.
HEAP: Final = 1 << 9
FIXED: Final = 1 << 8
# guess: attributes of an object that stand for all
MOST_ATTRIBUTES: Final = 64

# Methods of containers that give what they hold.
_READS: Final = """
    get pop popleft popitem setdefault __getitem__ keys values items copy union intersection difference
    symmetric_difference most_common elements move_to_end __iter__ __reversed__ total __or__ __and__ __sub__ __add__
    __mul__
"""
READS_PARTS: Final = frozenset(_READS.split())
# Methods of containers and arrays that write them, and of objects that set them up anew.
_WRITES: Final = """
    append extend insert remove pop clear sort reverse __setitem__ __delitem__ __iadd__ __imul__ add discard update
    intersection_update difference_update symmetric_difference_update popitem setdefault __ior__ __iand__ __isub__
    __ixor__ appendleft extendleft popleft rotate move_to_end subtract fill put itemset resize partition setflags
    setfield frombytes fromfile fromlist fromstring fromunicode byteswap release __init__ __setstate__ __delslice__
    __ilshift__ __irshift__ __imatmul__ __itruediv__ __ifloordiv__ __imod__ __ipow__ __setattr__ __delattr__
    """
WRITES: Final = frozenset(_WRITES.split())
# Methods that read. Of a method that is in neither list nothing is known.
_READS_ALL: Final = """
    index count issubset issuperset isdisjoint difference union intersection total maxlen fromkeys format
    __len__ __contains__ __eq__ __ne__ __lt__ __le__ __gt__ __ge__ __rmul__ __radd__ __ror__ __rand__ __rsub__ __rxor__
    __xor__ __hash__ __repr__ __str__ __format__ __sizeof__ __reduce__ __reduce_ex__ __getattribute__ __copy__
    __deepcopy__ __dir__ __class_getitem__ __getstate__ __missing__ __class__ __init_subclass__ __subclasshook__
    __or__ __and__ __sub__ __add__ __mul__ __mod__ __getnewargs__ __new__ __doc__ __alloc__ __buffer__ __bool__
    __length_hint__
    """
_READS_ARRAY: Final = """
    all any argmax argmin argpartition argsort astype choose clip compress conj conjugate cumprod cumsum diagonal dot
    dumps flatten item max mean min newbyteorder nonzero prod ptp ravel repeat reshape round searchsorted squeeze std
    sum swapaxes take tobytes tolist tostring trace transpose var view getfield to_device cast toreadonly hex tounicode
    tofile dump buffer_info capitalize center decode endswith expandtabs find fromhex isalnum isalpha isascii isdigit
    islower isspace istitle isupper join ljust lower lstrip maketrans partition removeprefix removesuffix replace rfind
    rindex rjust rpartition rsplit rstrip split splitlines startswith strip swapcase title translate upper zfill
    __array__ __array_ufunc__ __array_function__ __array_wrap__ __array_prepare__ __array_finalize__ __array_namespace__
    __dlpack__ __dlpack_device__ __matmul__ __rmatmul__ __truediv__ __rtruediv__ __floordiv__ __rfloordiv__ __rmod__
    __pow__ __rpow__ __lshift__ __rlshift__ __rshift__ __rrshift__ __divmod__ __rdivmod__ __neg__ __pos__ __abs__
    __invert__ __int__ __float__ __complex__ __index__ __enter__ __exit__
    """
READS: Final = frozenset(f"{_READS} {_READS_ALL} {_READS_ARRAY}".split())
# Of these, the methods that put their arguments in: as they are, or what they hold.
ADDS: Final = frozenset(["append", "insert", "add", "appendleft", "setdefault", "__setitem__", "push", "put"])
ADDS_ALL: Final = frozenset(["extend", "extendleft", "update", "fromlist", "__iadd__", "__ior__"])


class Kinds:
    """Some types, to search in: by identity, since a metaclass may say anything of equality and hash."""

    def __init__(self, *kinds: type) -> None:
        self.kinds = kinds

    def __contains__(self, kind: object) -> bool:
        return any(kind is one_of for one_of in self.kinds)


CONTAINERS: Final = Kinds(list, dict, set, tuple, frozenset)
SEQUENCES: Final = Kinds(list, tuple)
READ_BY_CONSTANT: Final = Kinds(list, tuple, dict)
SLOTS: Final = Kinds(GetSetDescriptorType, MemberDescriptorType)

# By id: built-in types stay.
_known: Final[dict[int, str]] = {
    **{id(kind): ATOMIC for kind in (*ATOMS, range, type(Ellipsis))},
    **{id(kind): HOLDS for kind in (list, dict, set, frozenset, tuple, deque)},
}


def names_of(kind: type) -> tuple[str, str]:
    """Return the module and the qualified name of a class, whatever its metaclass says."""
    try:
        module = _module(kind)
    except AttributeError:
        module = ""
    return module if type(module) is str else "", str.__str__(_name(kind))


def is_written_in_python(kind: type) -> bool:
    """Return True for a class that a class statement has made."""
    flags = _flags(kind)
    return bool(flags & HEAP) and not flags & FIXED


def nature(kind: type) -> str | None:
    """Return what the tables say of a class or of its bases; None: nothing."""
    found = _known.get(id(kind))
    if found is not None:
        return found
    for base in _mro(kind):
        module, name = names_of(base)
        found = KINDS.get(f"{module}.{name}")
        if found is not None and (not is_written_in_python(base) or _stands_there(base, module, name)):
            return found
    if defined(kind, "__next__") is not None:
        return BAD
    # Members of an enum that is a class of the user's, modules, classes: the class of the class says it.
    return None


def takes_from_others(kind: type) -> bool:
    """Return True for iterators over another iterator or a function's variables, and for cursors of a connection."""
    module, name = names_of(kind)
    if (module, name) == ("sqlite3", "Cursor"):
        return True
    of_its_own = (module == "builtins" and name.endswith("iterator")) or module == "_io"
    return defined(kind, "__next__") is not None and not of_its_own and not is_written_in_python(kind)


def is_value(kind: type) -> bool:
    """Return True for the types of values that never change, and that cannot be called: not for the user's own."""
    return nature(kind) == ATOMIC and defined(kind, "__call__") is None and not is_the_users(kind)


def is_the_users(kind: type) -> bool:
    """Return True for a class written in Python that the tables do not name: it may do more than its bases."""
    return is_written_in_python(kind) and call_rule(kind) is None and ".".join(names_of(kind)) not in KINDS


def _stands_there(kind: type, module: str, name: str) -> bool:
    """Return True if the module really has this class under this name: a class may bear any name."""
    scope = own_attributes(sys.modules.get(module))
    return scope is not None and scope.get(name) is kind


def own_attributes(obj: object) -> Any:
    """Return the dict of an object's own attributes, without asking the object; None if it has none."""
    slot = defined(type(obj), "__dict__")
    if type(slot) not in SLOTS:
        return None
    try:
        held = slot.__get__(obj)
    except (AttributeError, TypeError):
        return None
    return held if type(held) is dict else None


def call_rule(kind: type) -> str | None:
    """Return what the tables say of calling a class."""
    module, name = names_of(kind)
    found = what_of(module, name)
    return found if not is_written_in_python(kind) or _stands_there(kind, module, name.partition(".")[0]) else None


def python_method(kind: type, name: str) -> FunctionType | None:
    """Return a method that is written in Python and is not known from the tables; None if there is none."""
    found = defined(kind, name)
    if type(found) is not FunctionType or is_of_library(found):
        return None
    return found


def is_of_library(func: FunctionType) -> bool:
    """Return True for a function that the tables know."""
    return rule_of(func) is not None


def rule_of(func: FunctionType) -> str | None:
    """Return what the tables say of a function written in Python. Its names may be another's, its code is its own."""
    module = dict.get(func.__globals__, "__name__")
    return what_of(module, func.__code__.co_qualname) if type(module) is str else None


def stored_in(obj: object) -> dict[str, Any]:
    """Return what an object's attributes hold, in its dict and in slots, without asking the object."""
    found: dict[str, Any] = dict(islice((own_attributes(obj) or {}).items(), MOST_ATTRIBUTES))
    for base in _mro(type(obj)):
        for name, slot in _namespace(base).items() if is_written_in_python(base) else ():
            if type(slot) is MemberDescriptorType:
                try:
                    found[name] = slot.__get__(obj)
                except AttributeError:
                    # It is empty.
                    continue
    return found


def members_of(kind: type) -> Any:
    """Return the members of an enum by name; None for another class."""
    found = defined(kind, "_member_map_") if issubclass(type(kind), type) else None
    return found if type(found) is dict else None


def mro(kind: type) -> tuple[type, ...]:
    """Return a class and its bases, in the order in which they are asked."""
    return _mro(kind)  # type: ignore[no-any-return]


def namespace(kind: type) -> Any:
    """Return what a class itself defines."""
    return _namespace(kind)

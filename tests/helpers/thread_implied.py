"""Functions whose state is reached by what nothing calls by its name, or by another name: found by breaking the look.

What one line can say stands in a table: a name, and the body of a function of ``x``.
"""

# The tables use them.
# ruff: noqa: F401

from __future__ import annotations

import abc
import array
import atexit
import bisect
import collections
import collections.abc
import concurrent.futures
import contextlib
import contextvars
import copy
import csv
import dataclasses
import datetime
import decimal
import enum
import functools
import gc
import heapq
import importlib
import inspect
import io
import itertools
import json
import logging
import math
import operator
import os
import pathlib
import pickle
import queue
import random
import re
import select
import shutil
import socket
import sqlite3
import string
import struct
import sys
import tempfile
import threading
import time
import timeit
import traceback
import types
import typing
import unittest.mock
import urllib.parse
import uuid
import warnings
import weakref
import zlib

import numpy as np

UNSAFE = {}
SAFE = {}


def row(*items, name=None):
    """Register a function that threads may not run, with its items."""

    def add(func):
        UNSAFE[name or func.__name__] = (func, list(items or (3, 4)))
        return func

    return add


def safe(*items):
    """Register a function that threads may run, with its items."""

    def add(func):
        SAFE[func.__name__] = (func, list(items or (3, 4)))
        return func

    return add


def table(text, into):
    """Register functions by the lines of a table."""
    for line in text.strip().splitlines():
        name, _, body = line.partition(" | ")
        exec(f"def row_{name}(x): {body}", globals())
        into[name] = (globals()[f"row_{name}"], [3, 4])


LST = [0]

DCT = {}

BUF = bytearray(16)

ARR = np.zeros(4)

SET = set()


class H:
    v = 0


def bump(*a, **k):
    H.v += 1
    return H.v


class Borg:
    _s = {}

    def __init__(self):
        self.__dict__ = self._s


class Single:
    _one = None

    def __new__(cls):
        if cls._one is None:
            cls._one = object.__new__(cls)
        return cls._one


Single()


class Reg:
    inst = None

    @classmethod
    def get(cls):
        return cls.inst


Reg.inst = Reg()


@row()
def reg_alias(x):
    c = Reg
    for name in ("inst",):
        r = getattr(c, name)
    r.v = x
    return r.v


class Ctr:
    n = 0

    def __init__(self):
        self.__class__.n += 1

    def up(self):
        type(self).n += 1


class Sub(Ctr):
    def __init__(self):
        super().__init__()


class Slot:
    __slots__ = ("a", "b")

    def __init__(self):
        self.a = []
        self.b = 0


SLOT = Slot()


def mkgen():
    it = iter(range(10**6))

    def f(x):
        return next(it)

    return f


row(name="closure_iter")(mkgen())


def mkcount():
    c = itertools.count()
    return lambda x: (x, next(c))


row(name="closure_count")(mkcount())

row(name="partial_next")(functools.partial(next, iter([1, 2, 3])))

row(name="method_of_count")(itertools.count().__next__, [], None) if False else (lambda x: CN())

CN = itertools.count().__next__

GEN = (i for i in range(10**6))

SEND = GEN.send

ZIP = zip(range(10**6), range(10**6))

RNG = np.random.default_rng(3)

T1 = ((1, []),)

DQ = collections.deque()

CM = collections.ChainMap({})

CT = collections.Counter()


@row()
def for_target(x):
    for LST[0] in (x,):
        pass
    return LST[0]


@row()
def with_target(x):
    with contextlib.nullcontext(x) as LST[0]:
        pass
    return LST[0]


@row()
def walrus_global(x):
    global WG
    if WG := x:
        return WG


@row()
def except_global(x):
    global EX1
    try:
        raise ValueError(x)
    except ValueError as EX1:
        return EX1.args


@row()
def zip_of(x):
    for a, b in zip([LST], [x]):
        a.append(b)


@row()
def enumerate_of(x):
    for i, a in enumerate([LST]):
        a.append(x)


@row()
def dict_items_of(x):
    for k, v in {"a": LST}.items():
        v.append(x)


@row()
def rev_of(x):
    for a in reversed([LST]):
        a.append(x)


@row()
def chain_of(x):
    for a in itertools.chain([LST], []):
        a.append(x)


@dataclasses.dataclass
class Dcv:
    a: int = 0
    b: list = dataclasses.field(default_factory=list)


DCV = Dcv()

NTV = collections.namedtuple("NTV", "a b")(0, [])


class PMC:
    lst = []

    def add(self, k, x):
        self.lst.append(x)

    go = functools.partialmethod(add, 1)


class SupA:
    lst = []

    def go(self, x):
        self.lst.append(x)


class SupB(SupA):
    def go(self, x):
        super(SupB, self).go(x)


class SC:
    box = []

    @staticmethod
    def put(x):
        SC.box.append(x)


class Psc:
    _v = 0

    @property
    def v(self):
        return self._v

    @v.setter
    def v(self, x):
        self._v = x


PS = Psc()


class Psc2:
    @property
    def v(self):
        return 1

    @v.setter
    def v(self, x):
        H.v = x


class Sta:
    def __setattr__(self, n, x):
        H.v = x


class Dta:
    def __delattr__(self, n):
        H.v += 1
        object.__delattr__(self, n)


class Dti:
    def __delitem__(self, n):
        H.v += 1


@row()
def fresh_exit(x):
    with Exi():
        pass
    return H.v


class Exi:
    def __enter__(self):
        return self

    def __exit__(self, *a):
        H.v += 1


@row()
def fresh_exit_stack(x):
    with contextlib.ExitStack() as s:
        s.enter_context(Exi())
    return H.v


@row()
def closing(x):
    with contextlib.closing(Clo()):
        pass
    return H.v


class Clo:
    def close(self):
        H.v += 1


class Cal:
    def __call__(self, x):
        H.v += 1
        return H.v


class Cal2:
    def __call__(self):
        H.v += 1
        return H.v


class ItrU:
    def __getitem__(self, i):
        H.v += 1
        if i > 2:
            raise IndexError
        return H.v


class RevU:
    def __reversed__(self):
        H.v += 1
        return iter([H.v])


class EqU:
    def __eq__(self, o):
        H.v += 1
        return True

    __hash__ = None


class LtU:
    def __lt__(self, o):
        H.v += 1
        return False


@functools.total_ordering
class Tot:
    def __eq__(self, o):
        return False

    def __lt__(self, o):
        H.v += 1
        return False


class RaU:
    def __radd__(self, o):
        H.v += 1
        return H.v


class RmU:
    def __rmod__(self, o):
        H.v += 1
        return H.v


class AbU:
    def __abs__(self):
        H.v += 1
        return H.v


class RoU:
    def __round__(self, n=None):
        H.v += 1
        return H.v


class DvU:
    def __divmod__(self, o):
        H.v += 1
        return H.v


class CxU:
    def __complex__(self):
        H.v += 1
        return 1j


class FmU:
    def __format__(self, s):
        H.v += 1
        return "a"


class FmA:
    @property
    def a(self):
        H.v += 1
        return H.v


class FmI:
    def __getitem__(self, k):
        H.v += 1
        return H.v


class ItU2:
    def __iter__(self):
        H.v += 1
        return iter(["a"])


class ByU:
    def __bytes__(self):
        H.v += 1
        return b"a"


class DiU:
    def __dir__(self):
        H.v += 1
        return []


class SiU:
    def __sizeof__(self):
        H.v += 1
        return H.v


class RaU2:
    def __add__(self, o):
        H.v += 1
        return o


class NuU:
    def __array_ufunc__(self, *a, **k):
        H.v += 1
        return H.v


class NfU:
    def __array_function__(self, *a):
        H.v += 1
        return H.v


class Red:
    def __reduce__(self):
        H.v += 1
        return (int, (H.v,))


class PSt:
    def __setstate__(self, s):
        H.v += 1

    def __getstate__(self):
        return 1


PKL = pickle.dumps(PSt())


class DcU:
    def __deepcopy__(self, m):
        H.v += 1
        return H.v


class DcS(list):
    def __deepcopy__(self, m):
        return self


DCS = DcS()


class CpS:
    v = 0

    def __copy__(self):
        return self


CPS = CpS()


class AdS:
    v = 0

    def __add__(self, o):
        self_ = self
        return self_


ADS = AdS()


@row()
def enter_same(x):
    with ADS2 as c:
        c.v = x
        return c.v


class AdS2:
    v = 0

    def __enter__(self):
        return self

    def __exit__(self, *a):
        pass


ADS2 = AdS2()


@row()
def iter_same(x):
    for c in ITS:
        c.v = x


class ItS:
    def __iter__(self):
        yield self


ITS = ItS()


class GiS:
    def __getitem__(self, i):
        return self


GIS = GiS()


class NeS:
    def __neg__(self):
        return self


NES = NeS()


class AbS:
    def __abs__(self):
        return self


ABS = AbS()


class EV(enum.Enum):
    A = []


class EV2(enum.Enum):
    A = 1

    @property
    def box(self):
        return LST


@row()
def enum_iter(x):
    for e in EV2:
        e.m = x


class EV3(enum.Enum):
    A = 1

    def nxt(self):
        EV3.count = getattr(EV3, "cnt", 0)
        return 1


class Flt(logging.Filter):
    def filter(self, r):
        H.v += 1
        return False


LGF = logging.getLogger("brkf")

LGF.addFilter(Flt())

LGF.propagate = False

LGA = logging.LoggerAdapter(LGF, {})

MOCK = unittest.mock.Mock()

WKD = weakref.WeakKeyDictionary()


class Key:
    pass


KEY = Key()

WST = weakref.WeakSet()

BIO = io.BytesIO()

AAR = array.array("i", [0])

M2 = np.zeros((2, 2))

REC = np.zeros(2, dtype=[("a", int)])

OU2 = np.zeros(2)

M3 = np.eye(2)

M4 = np.zeros((2, 2))

MM = np.memmap(tempfile.TemporaryFile(), shape=(4,), dtype=float)

ZC = zlib.compressobj()

CWF = io.StringIO()

CW = csv.writer(CWF)

DW = csv.DictWriter(CWF, ["a"])

TP = string.Template("a")

FU = concurrent.futures.Future()

TLK = threading.local()


@row()
def tl_list(x):
    if not hasattr(TLK, "l"):
        TLK.l = []
    TLK.l.append(x)
    return len(TLK.l)


@row()
def tl_list_alias(x):
    l = getattr(TLK, "l", None)
    if l is None:
        l = TLK.l = []
    l.append(x)
    return list(l)


class TlSub(threading.local):
    n = 0

    def up(self):
        self.n += 1
        return self.n


TLSUB = TlSub()

CVL = contextvars.ContextVar("cvl", default=[])


@row()
def cond_wait(x):
    with CND:
        CND.notify()
        return len(CND._waiters)


CND = threading.Condition()


@row()
def rlock_count(x):
    got = RL.acquire(False)
    if got:
        RL.release()
    return got


RL = threading.RLock()


@row()
def sem_val(x):
    with SM:
        return SM._value


SM = threading.Semaphore(3)

PQ = queue.PriorityQueue()

BR = threading.Barrier(1)

EVT = threading.Event()


class ItB:
    box = []

    def put(self, x):
        self.box.append(x)


@row(ItB(), ItB())
def item_classbox(o):
    o.put(1)
    return len(o.box)


class ItC:
    def __init__(self, o):
        self.o = o


OO = []


@row(ItC(OO), ItC(OO))
def item_holds(o):
    o.o.append(1)
    return len(o.o)


class ItD(dict):
    pass


@row(ItD(a=OO), ItD(a=OO))
def item_dictsub(o):
    o["a"].append(1)
    return len(o["a"])


@row({"a": {"b": OO}}, {"a": {"b": OO}})
def item_deep(o):
    o["a"]["b"].append(1)


@row([OO], [OO])
def item_star(o):
    (a,) = o
    a.append(1)


@row((1, OO), (2, OO))
def item_unpack_for(o):
    for a in o[1:]:
        a.append(1)


@row(types.SimpleNamespace(b=OO))
def item_getattr(o):
    getattr(o, "b").append(1)


ROW0 = np.zeros((4, 2))


@row(*ROW0)
def item_rows_base(r):
    r.base[0, 0] = 1
    return r.base[0, 0]


@row(memoryview(BUF)[:4], memoryview(BUF)[2:])
def item_mvs(m):
    m[0] = 1
    return m[0]


@row(iter([1]), iter([2]))
def item_tee(i):
    return next(TEE)


TEE = itertools.tee(iter(range(10**6)))[0]


def gsh():
    for v in SRC:
        yield v


SRC = iter(range(10**6))


@row(gsh(), gsh())
def item_gen(gn):
    return next(gn)


@row(filter(None, SRC), filter(None, SRC))
def item_filter(f):
    return next(f)


CONN = sqlite3.connect(":memory:", check_same_thread=False)


@row(CONN.cursor(), CONN.cursor())
def item_cursor(c):
    return c.execute("select 1").fetchone()


@row(Borg(), Borg())
def item_borg(b):
    b.v = 1
    return b.v


@row(functools.partial(bump), functools.partial(bump))
def item_partial(p):
    return p()


@row(bump, bump)
def item_func(p):
    return p()


@row(LST.append, LST.append)
def item_bound(p):
    return p(1)


@safe()
def g_lock_dict(x):
    with LK:
        v = DCT.get(x, 0)
    return v


LK = threading.Lock()


@safe()
def g_tl_conn(x):
    c = getattr(TLG, "conn", None)
    if c is None:
        c = TLG.conn = sqlite3.connect(":memory:")
    return c.execute("select ?", (x,)).fetchone()


TLG = threading.local()


@safe()
def g_tl_try(x):
    try:
        b = TLG.buf
    except AttributeError:
        b = TLG.buf = bytearray(8)
    b[:] = b"%8d" % x
    return bytes(b)


@safe()
def g_cv(x):
    t = CVG.set(x)
    try:
        return CVG.get()
    finally:
        CVG.reset(t)


CVG = contextvars.ContextVar("cvg")


@safe()
def g_event(x):
    if STOP.is_set():
        return None
    return x


STOP = threading.Event()

LGZ = logging.getLogger(__name__)


class Vec:
    __slots__ = ("x", "y")

    def __init__(self, x, y):
        self.x = x
        self.y = y

    def __add__(self, o):
        return Vec(self.x + o.x, self.y + o.y)

    def __eq__(self, o):
        return (self.x, self.y) == (o.x, o.y)

    def __hash__(self):
        return hash((self.x, self.y))

    def __lt__(self, o):
        return self.x < o.x

    def __repr__(self):
        return f"Vec({self.x})"

    def __len__(self):
        return 2

    def __iter__(self):
        yield self.x
        yield self.y

    def __getitem__(self, i):
        return (self.x, self.y)[i]

    def __bool__(self):
        return True

    def __call__(self, k):
        return self.x * k

    def __enter__(self):
        return self

    def __exit__(self, *a):
        pass


ORIGIN = Vec(1, 2)


@safe()
def g_vec_with(x):
    with ORIGIN as o:
        return o.x * x


@dataclasses.dataclass(frozen=True, order=True)
class Fz:
    a: int
    b: str = "q"
    c: tuple = ()


FZ = Fz(1)


@safe()
def g_fz(x):
    return (
        FZ == Fz(x),
        hash(FZ),
        repr(FZ),
        dataclasses.replace(FZ, a=x).a,
        FZ < Fz(x),
        {FZ: 1}[FZ],
        dataclasses.asdict(Fz(x)),
    )


class Cfg:
    def __init__(self):
        self.opts = {"a": 1}
        self.names = ["a"]

    def __getattr__(self, n):
        try:
            return self.__dict__["opts"][n]
        except KeyError:
            raise AttributeError(n) from None

    def __getitem__(self, k):
        return self.opts[k]

    def __contains__(self, k):
        return k in self.opts

    def __len__(self):
        return len(self.opts)

    def get(self, k, d=None):
        return self.opts.get(k, d)


CFG = Cfg()


class MyErr(Exception):
    def __init__(self, code):
        super().__init__(f"code {code}")
        self.code = code

    def __str__(self):
        return f"<{self.code}>"


@safe()
def g_err(x):
    try:
        raise MyErr(x)
    except MyErr as e:
        return (str(e), e.code)


class Col(enum.IntEnum):
    R = 1
    B = 2

    @property
    def nice(self):
        return self.name.lower()

    @classmethod
    def of(cls, x):
        return cls(1 if x else 2)


@safe()
def g_enum(x):
    return (Col.of(x).nice, Col["R"].value + x, [c.name for c in Col], Col.R == x, Col.R in (1, 2), {Col.R: 1}[Col.R])


class Abst(abc.ABC):
    @abc.abstractmethod
    def go(self, x): ...


class Impl(Abst):
    def go(self, x):
        return x + 1


IMPL = Impl()


@safe()
def g_getters(x):
    return (
        sorted([{"a": x}, {"a": 1}], key=operator.itemgetter("a"))[0]["a"],
        operator.attrgetter("x")(ORIGIN),
        operator.methodcaller("upper")("a"),
    )


@safe()
def g_npviews(x):
    a = np.zeros(4)
    a[:] = x
    b = a.reshape(2, 2)
    b[0] = 1
    np.add(a, 1, a)
    a.clip(0, 1, a)
    np.array(ARR)[0] = 1
    c = np.array(ARR, copy=True)
    c[0] = x
    return (float(a.sum() + ARR.sum() + c[0]), np.asarray(ARR).mean(), ARR.reshape(2, 2).sum())


@safe()
def g_class_local(x):
    r = collections.OrderedDict()
    r["a"] = x
    r.move_to_end("a")
    q = collections.deque(maxlen=3)
    q.append(x)
    q.rotate(1)
    s = set()
    s.add(x)
    return (r, q, s)


@safe()
def g_strings(x):
    return (
        "a{}".format(x),
        "%s %r" % (x, [x]),
        "{a}".format_map({"a": x}),
        ",".join(map(str, range(x))),
        f"{x:>{x}}",
        re.sub("a", "b", str(x)),
    )


@safe()
def g_uuid(x):
    return (
        str(uuid.UUID(int=x)),
        urllib.parse.quote(str(x)),
        time.strftime("%Y"),
        math.comb(5, 2),
        pathlib.Path("/a") / str(x),
    )


@safe()
def g_matchcls(x):
    match Vec(x, 1):
        case Vec(x=a, y=1):
            return a
    return 0


@safe(Vec(1, 2), Vec(2, 3))
def g_item_vec(v):
    return (v.x + v.y, v == ORIGIN, sorted([v, ORIGIN])[0].x, str(v), len(v))


@safe(Dcv(1), Dcv(2))
def g_item_dc(v):
    v.a = 5
    return (v.a, repr(v), v == DCV)


@safe(bytearray(b"abc"), bytearray(b"abd"))
def g_item_ba(b):
    b[0] = 1
    b.extend(b"q")
    return bytes(b)


@safe(np.arange(6).reshape(2, 3), np.arange(6).reshape(2, 3))
def g_item_reshaped(a):
    a[0, 0] = 5
    return int(a.sum())


@safe(Col.R, Col.B)
def g_item_enum(c):
    return (c.name, c.nice, c.value)


@safe(pathlib.Path("/a"), pathlib.Path("/b"))
def g_item_path(p):
    return (p.name, str(p), (p / "c").suffix, p.parent == ROOTP, p.exists(), sorted([p]))


ROOTP = pathlib.Path("/")

NOT_SAFE = r"""
borg | b = Borg(); b.v = x; return b.v
single | s = Single(); s.v = x; return s.v
reg | r = Reg.get(); r.v = x; return r.v
ctr | Ctr(); return Ctr.n
ctr2 | c = Ctr.__new__(Ctr); c.up(); return 1
ctr_map | return list(map(Ctr.up, [Ctr()]))
ctr_sub | Sub(); return 1
slot | SLOT.a.append(x); return SLOT.a
slot_set | SLOT.b = x; return SLOT.b
slot_desc | Slot.b.__set__(SLOT, x); return SLOT.b
gen_send | return SEND(None)
zip_shared | return next(ZIP)
rng_np | return RNG.integers(10)
rng_shuffle_arg | r = random.Random(x); r.shuffle(LST); return LST[0]
rng_np_shuffle | r = np.random.default_rng(x); r.shuffle(ARR); return ARR[0]
rng_np_out | r = np.random.default_rng(x); r.random(out=ARR); return ARR[0]
rng_np_permuted | np.random.default_rng(x).permuted(ARR, out=ARR); return ARR[0]
glob_update | globals().update(ZZ=x); return ZZ
locals_mod | sys.modules[__name__].ZZ = x; return ZZ
func_globals | bump.__globals__['ZZ'] = x; return ZZ
func_defaults | bump.__defaults__ = (x,); return bump.__defaults__
func_dict | bump.__dict__['q'] = x; return bump.q
code_swap | bump.__code__ = bump.__code__; return 1
class_bases | Ctr.__bases__ = (object,); return 1
type_setattr | type.__setattr__(Ctr, 'n', x); return Ctr.n
obj_delattr | object.__delattr__(SLOT, 'b'); return 1
dict_of_class | return bump() if Ctr.__dict__['n'] else 0
extend_by_iadd_attr | SLOT.a += [x]; return len(SLOT.a)
nested_tuple | T1[0][1].append(x); return len(T1[0][1])
deque_iadd | global DQ; DQ += [x]; return len(DQ)
chain_map | CM.maps[0]['a'] = x; return CM['a']
counter_sub | CT.subtract([x]); return CT[x]
counter_and | global CT; CT &= CT; return 1
dict_popitem | DCT[x] = 1; return DCT.popitem()
dict_views | DCT.keys(); DCT.setdefault('n', []).append(x); return DCT['n']
heap_merge | heapq.heappushpop(LST, x); return LST[0]
slices_assign | LST[:] = [x]; return LST[0]
del_slice | del LST[1:]; return len(LST)
starred_target | LST[0], *rest = (x, 1); return LST[0]
import_global | global json2; import json as json2; return 1
aug_attr_chain | H.__dict__; H.v |= x; return H.v
list_of_lists | [LST for _ in range(2)][0].append(x); return len(LST)
dict_comp | {k: LST for k in 'ab'}['a'].append(x); return len(LST)
ternary | (LST if x else []).append(x); return len(LST)
or_default | (None or LST).append(x); return len(LST)
and_chain | (1 and LST).append(x)
lam_return | (lambda: LST)().append(x)
max_of | max([LST, []], key=len).append(x)
sorted_of | sorted([LST, []], key=len)[0].append(x)
next_iter_of | next(iter([LST])).append(x)
filter_of | list(filter(None, [LST]))[0].append(x)
reduce_of | functools.reduce(lambda a, b: a, [LST]).append(x)
copy_of | copy.copy({'a': LST})['a'].append(x)
replace_of | dataclasses.replace(DCV, a=1).b.append(x)
astuple_of | vars(DCV)['b'].append(x)
nt_replace | NTV._replace(a=1).b.append(x)
nt_asdict | NTV._asdict()['b'].append(x)
operator_attr | operator.attrgetter('b')(DCV).append(x)
operator_item | operator.itemgetter('a')({'a': LST}).append(x)
operator_mc | operator.methodcaller('append', x)(LST)
methodtype | types.MethodType(list.append, LST)(x)
partial_in | functools.partial(LST.append, x)()
partialmethod | PMC().go(x)
boundgeneric | Ctr.up.__get__(Ctr(), Ctr)()
supercall | SupB().go(x)
classcall | SupA.go(SupB(), x)
staticcell | SC.put(x)
prop_setter | PS.v = x; return PS.v
fresh_prop_global | p = Psc2(); p.v = x; return H.v
fresh_setattr | p = Sta(); p.q = x; return H.v
fresh_delattr | p = Dta(); p.a = 1; del p.a; return H.v
fresh_delitem | p = Dti(); del p[1]; return H.v
fresh_call | return Cal()(x)
mapped_call | return list(map(Cal(), [x]))
sorted_call | return sorted([x, 1], key=Cal())
dd_call | return collections.defaultdict(Cal2())[x]
iter_call | return next(iter(Cal2(), None))
hash_iter | return list(ItrU())
contains_getitem | return 5 in ItrU()
rev | return list(reversed(RevU()))
eqchain | return (1, EqU()) == (1, EqU())
ltsort | return [LtU(), LtU()].sort()
ltbisect | return bisect.bisect_left([LtU()], LtU())
lheap | return heapq.nsmallest(1, [LtU(), LtU()])
total | return Tot() >= Tot()
radd | return sum([RaU()])
rmod | return 5 % RmU()
absu | return abs(AbU())
roundu | return round(RoU())
divmodu | return divmod(DvU(), 1)
complexu | return complex(CxU())
fmtspec | return f'{FmU():>{x}}'
fmtnested | return '{0.a}'.format(FmA())
fmtidx | return '{0[k]}'.format(FmI())
strjoin | return ','.join(ItU2())
bytesu | return bytes(ByU())
diru | return dir(DiU())
sizeu | return sys.getsizeof(SiU())
npobj | return np.array([RaU2(), RaU2()], dtype=object).sum()
npfunc | return np.add(NuU(), 1)
npfunc2 | return np.sum(NfU())
jsonenc | return json.dumps(object(), default=Cal())
jsonhook | return json.loads('{"a":1}', object_hook=Cal())
jsonpairs | return json.loads('{"a":1}', object_pairs_hook=bump)
jsonfloat | return json.loads('1.5', parse_float=bump)
picklered | return pickle.dumps([Red()])
deepc | return copy.deepcopy({'a': [DcU()]})
deepc_same | copy.deepcopy(DCS).append(x)
copy_same | c = copy.copy(CPS); c.v = x; return c.v
add_same | c = ADS + x; c.v = x; return c.v
getitem_same | GIS[0].v = x
neg_same | c = -NES; c.v = x
abs_same | c = abs(ABS); c.v = x
enum_val | EV.A.value.append(x)
enum_call | EV2(1).box.append(x)
enum_item | EV2['A'].m = x
enum_auto_next | return EV3.A.nxt()
logger_filter | LGF.warning('a'); return H.v
logger_adapter | LGA.extra['a'] = x; return LGA.extra['a']
logger_handlers | logging.getLogger('q').handlers.append(None)
logger_level | logging.getLogger('q').level = x
logger_root | logging.root.setLevel(x)
mock_call | return MOCK(x)
inspect_frame | inspect.currentframe().f_globals['ZZ'] = x; return 1
referrers | gc.get_referents((LST,))[0].append(x)
wkd | WKD[KEY] = x; return WKD[KEY]
wset | WST.add(KEY); return len(WST)
weakcb | k = Key(); r = weakref.ref(k, bump); del k; return H.v
sqlitefn | c = sqlite3.connect(':memory:'); c.create_function('f', 0, bump); return c.execute('select f()').fetchone()
sqlitetrace | c = sqlite3.connect(':memory:'); c.set_trace_callback(bump); c.execute('select 1'); return H.v
sysmeta | sys.meta_path.append(None)
syspath | sys.path.insert(0, str(x))
syspath2 | from sys import path; path.append(str(x)); return len(path)
osenv | os.environ['BRKM'] = str(x)
tempd | tempfile.tempdir = '/tmp'
csvdial | csv.register_dialect(str(x))
recomp_purge | re._cache = 1
decctx | decimal.getcontext().traps[decimal.Inexact] = bool(x % 2)
warnreg | warnings.filters.insert(0, None)
randst | random.setstate(random.getstate())
rseed2 | np.random.set_state(np.random.get_state())
gaussn | return random.gauss(0, 1)
bufio | BIO.write(b'a'); return BIO.tell()
bioget | BIO.getbuffer()[0:1] = b'a'
arr_append | AAR.append(x); return len(AAR)
arr_mv | memoryview(AAR)[0] = x; return AAR[0]
np_from | np.frombuffer(BUF, np.uint8)[0] = x; return BUF[0]
np_asarr | np.asarray(AAR)[0] = x; return AAR[0]
np_T | ARR.T[0] = x; return ARR[0]
np_real | ARR.real[0] = x; return ARR[0]
np_real2 | np.real(ARR)[0] = x; return ARR[0]
np_diag | M2.diagonal(); np.fill_diagonal(M2, x); return M2[0, 0]
np_shape | M2.shape = (4,); return 1
np_sort | ARR.sort(); return ARR[0]
np_flags | ARR.flags.writeable = True; return 1
np_rec | REC['a'][0] = x; return REC['a'][0]
np_rec2 | r = REC[0]; r['a'] = x; return REC['a'][0]
np_ma | m = np.ma.array(ARR); m[0] = x; return ARR[0]
np_masked | np.ma.masked_where(ARR > 0, ARR, copy=False)[0] = x
np_einsum | np.einsum('i->i', ARR)[0] = x; return ARR[0]
np_where_out | np.add(ARR, 1, ARR, where=ARR > 0); return ARR[0]
np_reduce_out | np.add.reduce(M2, 0, None, OU2); return OU2[0]
np_outer_out | np.add.outer([1, 2], [1, 2], out=M2); return M2[0, 0]
np_accum | np.add.accumulate(ARR, 0, None, ARR); return ARR[0]
np_matmul_pos | np.matmul(M3, M3, M4); return M4[0, 0]
np_linalg | np.linalg.multi_dot([M3, M3], out=M4); return M4[0, 0]
np_choose | np.choose([0], [[x]], OU2[:1]); return OU2[0]
np_partition | ARR.partition(1); return ARR[0]
np_put | ARR.put([0], x); return ARR[0]
np_itemset | ARR.__setitem__(0, x); return ARR[0]
np_iadd_meth | ARR.__iadd__(x); return ARR[0]
np_operator | operator.iadd(ARR, x); return ARR[0]
np_byteswap | ARR.byteswap(True); return ARR[0]
np_byteswap2 | ARR.byteswap(inplace=True); return ARR[0]
np_memmap | MM[0] = x; return MM[0]
ctypes_ | import ctypes; (ctypes.c_char * 4).from_buffer(BUF)[0] = b'a'; return BUF[0]
structinto | struct.Struct('q').pack_into(BUF, 0, x); return BUF[0]
readinto | open(os.devnull, 'rb').readinto(BUF)
recvinto | a, b = socket.socketpair(); b.send(b'a'); a.recv_into(BUF); return BUF[0]
bufreader | io.BufferedReader(io.FileIO(os.devnull)).readinto1(BUF)
zlibobj | return ZC.compress(b'a')
csvw | CW.writerow([x]); return CWF.getvalue()
dictw | DW.writerow({'a': x})
tmpl | TP.template = str(x); return TP.template
fut | FU.set_result(x); return FU.result()
tl_stack | TLK.s = getattr(TLK, 's', ()) + (x,); return len(TLK.s)
tl_sub | return TLSUB.up()
tl_dictattr | TLK.__dict__['q'] = TLK.__dict__.get('q', 0) + 1; return TLK.__dict__['q']
cv_list | CVL.get().append(x); return len(CVL.get())
pq | PQ.put(x); return PQ.get()
q_empty | PQ.put(x); return PQ.empty()
bar | return BR.wait()
evw | was = EVT.wait(0); EVT.set(); return was
thr_attr | threading.current_thread().tag = x; return threading.current_thread().tag
thr_name | t = threading.current_thread(); t.name = str(x); return t.name
"""

ALL_SAFE = r"""
g_log | logging.getLogger('zz').info('x'); LGZ.debug('y %s', x); return x
g_vec | v = Vec(x, 1); return (v == ORIGIN, max(v, ORIGIN).x, v(3), sorted([v, ORIGIN])[0].x)
g_vec_keys | w = {Vec(x, 1): 1, ORIGIN: 2}; return (w[ORIGIN], ORIGIN in [Vec(x, 2)])
g_vec_shown | v = Vec(x, 1); return (len(v), list(v), v[0], f'{v}', str(ORIGIN), bool(v), repr([ORIGIN]))
g_cfg | return (CFG['a'] * x + CFG.get('a') + len(CFG) + ('a' in CFG), CFG.a)
g_abc | return IMPL.go(x) if isinstance(IMPL, Abst) else 0
g_collections_abc | return (isinstance(x, collections.abc.Sized), isinstance([], collections.abc.Mapping))
g_mapcls | return ([v.x for v in map(Vec, [x], [1])], list(map(str, [1, 2])), sorted([x, 1], key=operator.neg))
g_hash | h = HB.copy() if 0 else __import__ and zlib.crc32(b'a'); return h
g_typing | return typing.cast(int, x)
g_import | return importlib.import_module('json').dumps([x])
"""

table(NOT_SAFE, UNSAFE)
table(ALL_SAFE, SAFE)

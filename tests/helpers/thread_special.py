"""Functions whose state is reached by what nothing calls by its name: special methods, compiled callers.

What one line can say stands in a table: a name, and the body of a function of ``x``.
"""

# The tables use them.
# ruff: noqa: F401

from __future__ import annotations

import abc
import array
import base64
import bisect
import bz2
import calendar
import codecs
import collections
import concurrent.futures
import configparser
import contextlib
import contextvars
import copy
import csv
import dataclasses
import datetime
import decimal
import difflib
import email.charset
import enum
import fractions
import functools
import hashlib
import heapq
import html.parser
import importlib
import io
import itertools
import json
import linecache
import locale
import logging
import lzma
import math
import operator
import os
import pathlib
import pickle
import queue
import random
import re
import shelve
import shutil
import sqlite3
import statistics
import string
import struct
import sys
import tempfile
import textwrap
import threading
import time
import types
import warnings as warnings_
import weakref
import xml.etree.ElementTree as ET
import zlib

import numpy as np


def S():
    """Wait, so that another thread may run."""
    time.sleep(0)


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

DCT = {0: 0}

BUF = bytearray(8)

ARR = np.zeros(4, dtype=np.int64)

OUT = np.zeros(4, dtype=np.int64)

Q = queue.Queue()

LOCK = threading.Lock()

EV = threading.Event()

SEM = threading.Semaphore(1)


@row()
def u_lockget(x):
    got = LOCK.acquire(blocking=False)
    if got:
        LOCK.release()
    return got


@row()
def u_locked(x):
    with LOCK:
        S()
    return LOCK.locked()


@row()
def u_sem(x):
    got = SEM.acquire(blocking=False)
    if got:
        SEM.release()
    return got


LQ = queue.LifoQueue()

SQ = queue.SimpleQueue()

ST = struct.Struct("q")


class Holder:
    v = 0


def mut(x):
    Holder.v = x
    return x


FPF = np.frompyfunc(mut, 1, 1)

VEC = np.vectorize(mut)

MC = operator.methodcaller("__init__", [7])

CLR = operator.methodcaller("clear")

ML = []

LST2 = []

ADD1 = operator.methodcaller("append", 1)

DQ = collections.deque([0], maxlen=2)

A2 = np.full(4, 7)

ARR3 = np.zeros(1, dtype=np.int64)

NF = np.zeros(2)

LG = logging.getLogger("brk2")

CV = contextvars.ContextVar("cv", default=0)

CV2 = contextvars.ContextVar("cv2", default=0)

TL = threading.local()


@row()
def u_tl_try(x):
    try:
        TL.n += 1
    except AttributeError:
        TL.n = 1
    return TL.n


CAL = calendar.TextCalendar()

CP = configparser.ConfigParser()

CP.add_section("a")

SM = difflib.SequenceMatcher(None, "", "abc" * 20)


class Hp(html.parser.HTMLParser):
    pass


HP = html.parser.HTMLParser()

EL = ET.Element("a")

EL2 = ET.Element("a")

H = hashlib.sha256()


class Color(enum.Enum):
    RED = 1


class EM(enum.Enum):
    A = 1

    def put(self, x):
        self.m = x


class MyInt(int):
    pass


MI = MyInt(3)


class MyStr(str):
    def __getitem__(self, i):
        self.last = i
        S()
        return self.last


MS = MyStr("abc")


class MyDate(datetime.date):
    @property
    def nxt(self):
        Holder.v = 1
        return 1


WR = weakref.ref(Holder)


class Rec:
    def __init__(s):
        s.v = 0


RC = Rec()

PX = weakref.proxy(RC)

WVD = weakref.WeakValueDictionary({0: RC})

IDS = collections.defaultdict(itertools.count().__next__)


class Missing(dict):
    def __missing__(s, k):
        Holder.v += 1
        return Holder.v


FM = Missing()


class Sn:
    def __str__(s):
        Holder.v += 1
        return str(Holder.v)

    __repr__ = __str__

    def __format__(s, f):
        return s.__str__()

    def __len__(s):
        Holder.v += 1
        return Holder.v

    def __hash__(s):
        Holder.v += 1
        return 1

    def __eq__(s, o):
        return True

    def __iter__(s):
        Holder.v += 1
        yield Holder.v

    def __floor__(s):
        Holder.v += 1
        return Holder.v

    def __index__(s):
        Holder.v += 1
        return Holder.v

    def __contains__(s, o):
        Holder.v += 1
        return Holder.v % 2

    def __bool__(s):
        Holder.v += 1
        return Holder.v % 2 == 0

    def __deepcopy__(s, m):
        Holder.v += 1
        return Holder.v

    def __reduce__(s):
        Holder.v += 1
        return (int, (Holder.v,))

    def __array__(s, *a, **k):
        Holder.v += 1
        return np.array([Holder.v])

    def __fspath__(s):
        Holder.v += 1
        return "/x%d" % Holder.v

    def __lt__(s, o):
        Holder.v += 1
        return Holder.v % 2 == 0

    def __float__(s):
        Holder.v += 1
        return float(Holder.v)

    def write(s, t):
        Holder.v += 1

    def __missing(s):
        pass


SN = Sn()


def incs(m):
    return str(mut(Holder.v + 1))


def incs2(m):
    return mut(Holder.v + 1)


def inc0():
    return mut(Holder.v + 1)


def cbk():
    with contextlib.ExitStack() as st:
        st.callback(inc0)
    return Holder.v


class Tmp:
    pass


def fin():
    t = Tmp()
    weakref.finalize(t, inc0)
    del t
    return Holder.v


def thr():
    t = threading.Thread(target=inc0)
    t.start()
    t.join()
    return Holder.v


class Pr:
    @property
    def p(s):
        Holder.v += 1
        return Holder.v


PR = Pr()

AG = operator.attrgetter("p")


@dataclasses.dataclass
class Dc:
    a: object


DC = Dc(SN)

NT = collections.namedtuple("NT", "a")(SN)


@functools.singledispatch
def SGD(a):
    return 0


@SGD.register
def _(a: float):
    return mut(Holder.v + 1)


class SC:
    def __new__(c, *a):
        Holder.v += 1
        return object.__new__(c)


class IS:
    def __init_subclass__(c):
        Holder.v += 1


def mk():

    class X(IS):
        pass

    return X


class SNm:
    def __set_name__(s, o, n):
        Holder.v += 1


def mk2():

    class X:
        a = SNm()

    return X


class ICm(type):
    def __instancecheck__(c, o):
        Holder.v += 1
        return True

    @property
    def thing(c):
        Holder.v += 1
        return Holder.v


class IC(metaclass=ICm):
    pass


MC2 = IC


class Mt:
    __match_args__ = ("p",)

    @property
    def p(s):
        Holder.v += 1
        return Holder.v


MT = Mt()


def mtc():
    match MT:
        case Mt(q):
            return q


class Osum:
    def __add__(s, o):
        Holder.v += 1
        return Holder.v

    __radd__ = __add__

    def __lt__(s, o):
        Holder.v += 1
        return True


OA = np.array([Osum(), Osum()], dtype=object)

PO = functools.partial(functools.partial(incs2), 3)


class JE(json.JSONEncoder):
    def default(s, o):
        return mut(Holder.v + 1)


class W:
    def write(s, t):
        Holder.v += 1
        return 1


WW = W()


def wcsv():
    csv.writer(WW).writerow([1])
    return Holder.v


@contextlib.contextmanager
def cmm():
    yield mut(Holder.v + 1)


def cm():
    with cmm() as v:
        return v


class Ex(Exception):
    def __init__(s):
        Holder.v += 1


def exc():
    try:
        raise Ex
    except Exception:
        return Holder.v


def ggg():
    Holder.v += 1
    yield Holder.v


def genx():
    return next(ggg())


class De:
    def __del__(s):
        Holder.v += 1


def dell():
    De()
    return Holder.v


class Ga:
    def __getattr__(s, n):
        Holder.v += 1
        return Holder.v

    @classmethod
    def cnt(c):
        Holder.v += 1
        return Holder.v


GA = Ga()


class Ds:
    def __get__(s, o, t):
        Holder.v += 1
        return Holder.v


class DEc:
    d = Ds()


DE = DEc()


class CPO:
    @functools.cached_property
    def cp(s):
        Holder.v += 1
        return Holder.v


class Ad:
    pass


class Abc(abc.ABC):
    pass


@row()
def u_abcreg(x):

    class Q(int):
        pass

    was = issubclass(bool, Abc)
    Abc.register(Q)
    return was


SH = [0]


@row(*[(i, SH) for i in range(4)])
def u_item_tuple(t):
    t[1][0] = t[0]
    S()
    return t[1][0]


@row(*[[i, SH] for i in range(4)])
def u_item_list(t):
    t[1][0] = t[0]
    S()
    return t[1][0]


@row(*[types.SimpleNamespace(i=i, s=SH) for i in range(4)])
def u_item_ns(t):
    t.s[0] = t.i
    S()
    return t.s[0]


MB = bytearray(1)


@row(*[memoryview(MB) for i in range(4)])
def u_item_mv(m):
    v = m[0]
    S()
    m[0] = v + 1
    return v + 1


OB = np.empty(4, dtype=object)

for i in range(4):
    OB[i] = SH


@row(*OB)
def u_item_objarr(l):
    v = l[0]
    S()
    l[0] = v + 1
    return v + 1


SRC = [None]

_it = itertools.count()


@row(*[itertools.islice(_it, 1) for _ in range(4)])
def u_item_islice(it):
    S()
    return next(it)


@row(*[map(next, [_it]) for _ in range(4)])
def u_item_map(it):
    S()
    return next(it) - next(it, 0)


A5 = np.zeros((4, 2))

A5[:, 1] = range(4)


@row(*A5)
def u_item_base(r):
    r.base[0, 0] = r[1]
    S()
    return float(r.base[0, 0])


class It:
    n = 0

    def __init__(s, i):
        s.i = i

    def go(s):
        type(s).n = s.i
        S()
        return type(s).n


@row(*[It(i) for i in range(4)])
def u_item_cls(o):
    return o.go()


@row(*[functools.partial(mut, i) for i in range(4)])
def u_item_call(o):
    o()
    S()
    return Holder.v


BB = io.BytesIO(bytes(8))


@row(*[BB.getbuffer() for i in range(4)])
def u_item_getbuffer(m):
    v = m[0]
    m[0] = (v + 1) % 256
    S()
    m[0] = v
    return v


def mkdd():
    d = {}
    return [dict(k=i, d=d) for i in range(4)]


@row(*mkdd())
def u_item_update(t):
    t["d"].update(a=t["k"])
    S()
    return t["d"]["a"]


@row(*mkdd())
def u_item_copy(t):
    c = t.copy()
    c["d"]["a"] = t["k"]
    S()
    return c["d"]["a"]


@row(*mkdd())
def u_item_kw(t):
    return kwf(**t)


def kwf(k, d):
    d["a"] = k
    S()
    return d["a"]


def mkclos():
    b = [0]

    def u_clos(x):

        def inner():
            b[0] = x

        inner()
        S()
        return b[0]

    return u_clos


row()(mkclos())


def u_default(x, b=[0]):
    b[0] = x
    S()
    return b[0]


row()(u_default)


def u_fattr(x):
    u_fattr.v = x
    S()
    return u_fattr.v


row()(u_fattr)


@functools.lru_cache
def mkbuf():
    return [0]


def gen():
    n = 0
    while True:
        n += 1
        yield n


GN = gen()


class Rec2:
    def __init__(s, x=0):
        s.v = x


R2 = Rec2()

CM = collections.ChainMap({}, {"a": 0})

UD = collections.UserDict(a=0)

UL = collections.UserList([0])

NS = types.SimpleNamespace(a=0)

MPX = types.MappingProxyType(DCT)

CELL = (lambda: GN).__closure__


def mkcell():
    c = 0

    def r():
        return c

    return r


CR = mkcell()

TE = itertools.cycle([1, 2, 3])

TW = textwrap.TextWrapper()

EXC = ValueError("a")


@row()
def u_excctx(x):
    try:
        raise EXC
    except ValueError as e:
        e.args = (x,)
        S()
        return EXC.args[0]


@row()
def u_excnote(x):
    try:
        try:
            raise KeyError(x)
        except KeyError as k:
            raise EXC from k
    except ValueError:
        S()
        return EXC.__cause__.args[0]


@row()
def u_excraise(x):
    try:
        raise EXC.with_traceback(None)
    except ValueError:
        S()
        return EXC.__context__ is None


BIG = b"abc" * 200000

BBG = os.urandom(150000)


@safe()
def g_lock(x):
    with LOCK:
        y = x
    return y


TAB = {i: str(i) for i in range(4)}


@functools.lru_cache
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)


@safe()
def g_clos(x):
    n = 0

    def add(k):
        nonlocal n
        n += k

    add(x)
    add(1)
    return n


@safe()
def g_ctx(x):
    with cm2(x) as v:
        return v


@contextlib.contextmanager
def cm2(x):
    S()
    yield x


@safe()
def g_tmp(x):
    with tempfile.TemporaryFile() as f:
        f.write(bytes([x]))
        f.seek(0)
        S()
        return f.read()


@safe()
def g_try(x):
    try:
        return 1 // (x % 3)
    except ZeroDivisionError as e:
        return str(e)


@safe()
def g_match(x):
    match x:
        case 0:
            return "z"
        case int(n) if n > 5:
            return n
        case _:
            return None


class Pt:
    __slots__ = ("a",)

    def __init__(s, a):
        s.a = a

    def __add__(s, o):
        return Pt(s.a + o.a)

    @property
    def dbl(s):
        return s.a * 2

    @classmethod
    def mk(c, a):
        return c(a)

    @staticmethod
    def z():
        return 0


@safe()
def g_heap(x):
    h = []
    for i in range(5):
        heapq.heappush(h, x * i % 7)
    return heapq.heappop(h)


@safe(*[{"a": i} for i in range(4)])
def g_item(d):
    S()
    return [*d.items()]


@safe(*["a b %d" % i for i in range(4)])
def g_itemstr(s):
    S()
    return s.upper().split()[-1].zfill(4)


class Base:
    def __init__(s, x):
        s.x = x

    def val(s):
        S()
        return s.x


class Sub(Base):
    def __init__(s, x):
        super().__init__(x)
        s.y = 1

    def val(s):
        return super().val() + s.y


def deco(f):

    @functools.wraps(f)
    def w(*a, **k):
        return f(*a, **k)

    return w


AD = type("AD", (), {})


class AD_:
    def __add__(s, o):
        Holder.v += 1
        return Holder.v

    __radd__ = __add__
    __neg__ = lambda s: s + 1
    __rmatmul__ = __add__

    def __iadd__(s, o):
        Holder.v += 1
        return s


AD = AD_()

S2 = Sn()


class KS_:
    def keys(s):
        return ["a"]

    def __getitem__(s, k):
        Holder.v += 1
        return Holder.v


KS = KS_()


def unp():
    (a,) = SN
    return a


def yf():
    yield from SN


def asr():
    try:
        assert SN
    except AssertionError:
        pass
    return Holder.v


class EMeta(type):
    def __call__(c, *a):
        Holder.v += 1
        return type.__call__(c)


class MCl(metaclass=EMeta):
    pass


class Exx(Exception):
    def __str__(s):
        Holder.v += 1
        return "a"


def exm():
    try:
        raise Exx()
    except Exx as e:
        return str(e) and Holder.v


class CG:
    def __class_getitem__(c, i):
        Holder.v += 1
        return Holder.v


@dataclasses.dataclass
class PI:
    a: int

    def __post_init__(s):
        Holder.v += 1


@dataclasses.dataclass
class DF:
    a: int = dataclasses.field(default_factory=inc0)


@dataclasses.dataclass(frozen=True)
class FD:
    a: object


FDC = FD(SN)


class EMs(enum.Enum):
    A = 1

    @classmethod
    def _missing_(c, v):
        Holder.v += 1
        return c.A


class EPr(enum.Enum):
    A = 1

    @property
    def p(s):
        Holder.v += 1
        return Holder.v


class PM:
    def b(s, k):
        return mut(Holder.v + k)

    m = functools.partialmethod(b, 1)


class SDM:
    @functools.singledispatchmethod
    def m(s, a):
        return 0

    @m.register
    def _(s, a: float):
        return mut(Holder.v + 1)


class SA:
    def __setattr__(s, n, v):
        Holder.v += 1


def setr():
    o = SA()
    o.a = 1
    return Holder.v


class DSet:
    def __set__(s, o, v):
        Holder.v += 1


class DO:
    d = DSet()


def dset():
    o = DO()
    o.d = 1
    return Holder.v


class HH(logging.Handler):
    def emit(s, r):
        Holder.v += 1


LGH = logging.getLogger("brkh")

LGH.addHandler(HH())

LGH.propagate = False

EX = concurrent.futures.ThreadPoolExecutor(1)


class TLs(threading.local):
    def __init__(s):
        Holder.v += 1
        s.v = Holder.v


TLS = TLs()


class Wt:
    def __enter__(s):
        Holder.v += 1

    def __exit__(s, *a):
        Holder.v += 1


WT = Wt()


def wth():
    with WT:
        return Holder.v


def iadd():
    a = AD
    a += 1
    return Holder.v


OSUM = Osum()

OSUM2 = Osum()

OL = [OSUM, OSUM2]


class ICm2(type):
    def __subclasscheck__(c, o):
        Holder.v += 1
        return True


class ICs(metaclass=ICm2):
    pass


class MyInt2(int):
    def __repr__(s):
        Holder.v += 1
        return "3"

    __str__ = __repr__


class KD_(dict):
    def items(s):
        Holder.v += 1
        return [(1, 2)]


KD = KD_(a=1)

OAA = np.array([AD], dtype=object)


class MyStr2(str):
    def __add__(s, o):
        Holder.v += 1
        return "q"


class MLs(list):
    def append(s, x):
        Holder.v += 1


ML3 = MLs()


class MDs(dict):
    def update(s, **k):
        Holder.v += 1


MD = MDs()


class GLs(list):
    def __len__(s):
        Holder.v += 1
        return Holder.v


GL = GLs()


class An:
    def __getattribute__(s, n):
        Holder.v += 1
        return Holder.v


ANN = An()


@functools.lru_cache
def lk(a):
    return 1


class Ga2:
    @property
    def p0(s):
        Holder.v += 1
        return Holder.v

    p1 = p0


GA2 = Ga2()


class FLs(float):
    def __float__(s):
        Holder.v += 1
        return 1.0


FL = AD


class Cnd:
    def __init__(s):
        s.c = threading.Condition()
        s.n = 0

    def __call__(s):
        with s.c:
            s.n += 1
            return s.n


COND = Cnd()


def cond():
    return COND()


def wrn():
    Holder.v
    warnings_.warn("a")
    return 1


def envb(x):
    os.environb[b"BRK"] = b"%d" % x
    S()
    return os.environb[b"BRK"]


V0 = ARR[:]


def npv(x):
    np.ravel(V0)[0:1].fill(x)
    S()
    return int(ARR[0])


def mvw(x):
    memoryview(BUF).cast("Q")[0] = x
    S()
    return int.from_bytes(BUF, "little")


def arrT(x):
    ARR.reshape(2, 2).T[0, 0] = x
    S()
    return int(ARR[0])


def lnk(x):
    np.lib.stride_tricks.sliding_window_view(ARR, 2, writeable=True)[0, 0] = x
    S()
    return int(ARR[0])


def vws(x):
    ARR.view(np.uint64)[...] = x
    S()
    return int(ARR[0])


def bms(x):
    np.frombuffer(BUF, dtype=np.uint8)[:] = x
    S()
    return BUF[0]


def syso(x):
    with contextlib.redirect_stdout(io.StringIO()) as b:
        print(x)
        S()
        return b.getvalue()


def gset(x):
    setattr(Holder, "v", x)
    S()
    return Holder.v


LIT = iter(range(10**6))

NOT_SAFE = r"""
u_queue | Q.put(x); return Q.get()
u_event | was = EV.is_set(); EV.set(); EV.clear(); return was
u_lifo | LQ.put(x); return LQ.get()
u_simpleq | SQ.put(x); return (SQ.qsize(), SQ.get())
u_structinto | ST.pack_into(BUF, 0, x); return ST.unpack_from(BUF)[0]
u_ufuncat | ARR[0]; np.add.at(ARR, 0, 1); r = int(ARR[0]); np.subtract.at(ARR, 0, 1); return r
u_readinto | io.BytesIO(x.to_bytes(8, 'little')).readinto(BUF); return int.from_bytes(BUF, 'little')
u_frompyfunc | FPF(x); return Holder.v
u_vectorize | VEC([x]); return Holder.v
u_applyalong | np.apply_along_axis(lambda r: mut(int(r[0])), 0, np.array([x])); return Holder.v
u_methodcaller | CLR(ML); operator.methodcaller('append', x)(ML); return list(ML)
u_methodcaller_glob | CLR(LST2); n = len(LST2); ADD1(LST2); return n
u_list_init | LST.__init__([x]); return LST[0]
u_list_init2 | list.__init__(LST, [x]); return LST[0]
u_dict_init | DCT.__init__({0: x}); return DCT[0]
u_deque_init | DQ.__init__([x]); return DQ[0]
u_ba_init | BUF.__init__(x.to_bytes(8, 'little')); return int.from_bytes(BUF, 'little')
u_arr_ifloordiv | A2.__ilshift__(1); r = int(A2[0]); A2.__irshift__(1); return r
u_take_pos | np.arange(200).take([x, x, x, x], 0, OUT); return int(OUT[0])
u_clip_pos | np.array([x] * 4).clip(0, 1000, OUT); return int(OUT[0])
u_np_cumsum_pos | np.cumsum(np.array([x, 0, 0, 0]), 0, None, OUT); return int(OUT[0])
u_np_dot_pos | np.dot(np.eye(4, dtype=int) * x, np.ones(4, dtype=int), OUT); return int(OUT[0])
u_setstate | ARR3.__setstate__(np.array([x]).__reduce__()[2]); return int(ARR3[0])
u_ndarray_buffer | a = np.ndarray((8,), dtype=np.uint8, buffer=BUF); a[:] = x; return BUF[0]
u_nparray_nocopy | a = np.array(ARR, copy=None); a[:] = x; return int(ARR[0])
u_flat | f = ARR.flat; f[0] = x; return int(ARR[0])
u_nan_to_num | NF[0]; np.nan_to_num(NF, False, float(x)); np.nan_to_num(np.array([np.nan]), copy=False); return 0.0
u_getlogger_attr | l = logging.getLogger('brk'); l.tag = x; return l.tag
u_setlevel | LG.setLevel(x + 1); return LG.level
u_setlevel2 | l = logging.getLogger('brk3'); l.setLevel(x + 1); return l.getEffectiveLevel()
u_mainthread | t = threading.main_thread(); t.tag = x; return t.tag
u_cv_count | CV.set(CV.get() + 1); return CV.get()
u_tl_count | TL.n = getattr(TL, 'n', 0) + 1; return TL.n
u_dec_count | c = decimal.getcontext(); c.prec += 1; return c.prec
u_calendar | CAL.setfirstweekday(x % 7); return CAL.firstweekday
u_calendar_unbound | calendar.Calendar.setfirstweekday(CAL, x % 7); return CAL.getfirstweekday()
u_cp | CP.set('a', 'b', str(x)); return CP.get('a', 'b')
u_cp_unbound | configparser.ConfigParser.set(CP, 'a', 'b', str(x)); return configparser.ConfigParser.get(CP, 'a', 'b')
u_seqmatch | SM.set_seq1('abc' * (x % 20)); return SM.ratio()
u_htmlp | HP.reset(); HP.feed('a' * x); return (len(HP.rawdata), HP.offset)
u_el | EL.set('k', str(x)); return EL.get('k')
u_el_sub | EL2.clear(); ET.SubElement(EL2, 'b%d' % x); return [e.tag for e in EL2]
u_hash | H.update(bytes([x])); return H.hexdigest()
u_enum_attr | Color.RED.mark = x; return Color.RED.mark
u_enum_method | EM.A.put(x); return EM.A.m
u_myint | MI.last = x; return MI.last
u_mystr | return MS[x]
u_weakref | WR().v = x; return WR().v
u_proxy | PX.v = x; return RC.v
u_wvd | WVD[0].v = x; return RC.v
u_ids | return IDS[x]
u_ids_getitem | return operator.getitem(IDS, x)
u_ids_itemgetter | return operator.itemgetter(x)(IDS)
u_ids_format | return '{a[k%d]}'.format(a=IDS) if 0 else ('{k}%d' % x).format_map(FM)
u_formatmap | return '{k}'.format_map(FM)
u_percent | return '%(k)s' % FM
u_lrubuf | mkbuf()[0] = x; return mkbuf()[0]
u_objset | object.__setattr__(RC, 'v', x); return RC.v
u_vars | RC.__dict__['v'] = x; return RC.v
u_vars2 | vars(RC)['v'] = x; return RC.v
u_reinit | Rec2.__init__(R2, x); return R2.v
u_chainmap | CM['a'] = x; return CM['a']
u_userdict | UD['a'] = x; return UD['a']
u_userlist | UL[0] = x; return UL[0]
u_nsinit | NS.__init__(a=x); return NS.a
u_mpx | MPX | {}; DCT[0] = x; return MPX[0]
u_cellc | CR.__closure__[0].cell_contents = x; return CR()
u_tee | return next(TE)
u_any_append | any(map(ML.append, [x])); r = ML[-1]; return r
u_importwrite2 | import xml.sax.handler as h; h.version = x; return h.version
u_tw | TW.width = x + 5; return len(TW.wrap('word ' * 30))
sn_str | return str(SN)
sn_fmt | return f"{SN}"
sn_pct | return "%s"%SN
sn_len | return len(SN)
sn_hash | return hash(SN)
sn_list | return list(SN)
sn_star | return [*SN]
sn_floor | return math.floor(SN)
sn_index | return [*range(1000)][SN]
sn_in | return 5 in SN
sn_not | return not SN
sn_deepcopy | return copy.deepcopy(SN)
sn_pickle | return pickle.dumps(SN)
sn_nparr | return int(np.asarray(SN)[0])
sn_fspath | return os.fspath(SN)
sn_join | return os.path.join("/", SN)
sn_path | return str(pathlib.Path(SN))
sn_max | return max(SN,SN) is None or Holder.v
sn_float | return math.sqrt(SN)
sn_print | return print("",file=SN) or Holder.v
sn_sleep | return operator.index(SN)
sn_hexx | return hex(SN)
sn_sum | return sum(SN)
sn_npsum | return int(np.sum(SN))
sn_jsond | return json.dumps({1:object},default=lambda o: mut(Holder.v+1))
sn_repr_in_list | return repr([SN])
sn_dictkey | return {SN:1} and Holder.v
sn_sorted | return sorted([SN,SN]) and Holder.v
sn_fromkeys | return dict.fromkeys([SN]) and Holder.v
sn_unpack | return (lambda a:a)(*SN)
sn_textwrap | return textwrap.fill(str(SN))
sn_bytes | return len(bytes(SN))
sn_rng | return len(range(SN))
sn_slice | return len(("a"*2000)[:SN])
sn_mul | return len("a"*SN)
sn_logfmt | return logging.LogRecord("a",1,"",1,"%s",(SN,),None).getMessage()
sn_Template | return string.Template("$a").substitute(a=SN)
sn_dec | return round(float(SN),1)
sn_mean | return statistics.mean(SN)
sn_strjoin | return "".join(map(str,SN))
sn_any | return any(SN) and Holder.v
sn_dq | return collections.deque(SN)[0]
sn_counter | return list(collections.Counter(SN))
sn_reduce | return functools.reduce(lambda a,b:mut(Holder.v+1),[1,2])
sn_sub | return re.sub("a",lambda m:str(mut(Holder.v+1)),"a")
sn_minkey | return min([1,2],key=lambda k: mut(Holder.v+1)) and Holder.v
sn_bisectkey | return bisect.bisect([1,2],1,key=lambda k: mut(Holder.v+1)) and Holder.v
sn_nlargest | return heapq.nlargest(1,[1,2],key=lambda k: mut(Holder.v+1)) and Holder.v
sn_accum | return list(itertools.accumulate([1,2],lambda a,b: mut(Holder.v+1)))
sn_starmap | return list(itertools.starmap(mut,[(Holder.v+1,)]))
sn_groupby | return [k for k,_ in itertools.groupby([1],lambda a: mut(Holder.v+1))]
sn_itersent | return next(iter(lambda: mut(Holder.v+1),None))
sn_fromfunction | return np.fromfunction(lambda i: mut(Holder.v+1),(2,))
sn_fromiter | return int(np.fromiter(SN,int)[0])
sn_exitstack | return cbk()
sn_wfin | return fin()
sn_difflibjunk | return difflib.SequenceMatcher(lambda c: mut(Holder.v+1)<0,"a","b").ratio() and Holder.v
sn_sortkey | return [1,2].sort(key=lambda k: mut(Holder.v+1)) or Holder.v
sn_thread | return thr()
sn_scanner | return re.compile("a").sub(incs,"a")
sn_tfilter | return list(filter(incs2,[1])) and Holder.v
sn_dfac | return collections.defaultdict(inc0)[1]
sn_mtype | return types.MethodType(incs2,1)()
sn_cmpkey | return sorted([1,2],key=functools.cmp_to_key(lambda a,b: mut(Holder.v+1))) and Holder.v
sn_attrget | return operator.attrgetter("p")(PR)
sn_attrglob | return AG(PR)
sn_reprlib | return __import__("reprlib").repr(SN)
sn_dcrepr | return repr(DC)
sn_dcasdict | return len(dataclasses.asdict(DC)) and Holder.v
sn_nt | return str(NT)
sn_sng | return SGD(1.5)
sn_cls | return SC(1) and Holder.v
sn_inst | return isinstance(1,IC) and Holder.v
sn_match | return mtc()
sn_ufuncobj | return int(np.add(SN,0)[0])
sn_objarr | return int(np.sum(OA))
sn_partialobj | return PO()
sn_jsonsub | return json.dumps(1.5j,cls=JE)
sn_csvw | return wcsv()
sn_strfmt | return format(SN,"")
sn_argsort | return sorted(OA.tolist()) and Holder.v
sn_ctxm | return cm()
sn_exc | return exc()
sn_gen | return genx()
sn_walrus | return [y:=mut(Holder.v+1) for _ in [1]][0]
sn_delx | return dell()
sn_getattrm | return GA.foo
sn_getattro | return getattr(GA,"zip")
sn_descr | return DE.d
sn_clsattr | return type(GA).__mro__[0].cnt()
sn_meta | return MC2.thing
sn_cprop | return CPO().cp
v_if | return 1 if SN else 2
v_and | return (SN and 1) and 3
v_addr | return x+AD
v_inlist | return (x in [SN]) and Holder.v
v_count | return [SN].count(x) and Holder.v
v_dget | return ({1:2}.get(SN,9)) and Holder.v
v_setlit | return {SN} and Holder.v
v_setadd | return set().add(SN) or Holder.v
v_fnest | return f"{[SN]}"
v_tup | return str((SN,))
v_pctd | return "%d"%SN
v_prnt | return print(SN,file=io.StringIO()) or Holder.v
v_splat | return {**KS} and Holder.v
v_fsplat | return (lambda **k:k)(**KS) and Holder.v
v_unpack1 | return unp()
v_yf | return list(yf())
v_asrt | return asr()
v_excmeta | return exm()
v_cgi | return CG[int]
v_postinit | return PI(1) and Holder.v
v_dfac | return DF() and Holder.v
v_emiss | return EMs(9) and Holder.v
v_eprop | return EPr.A.p
v_pm | return PM().m()
v_sdm | return SDM().m(1.5)
v_setr | return setr()
v_dset | return dset()
v_slog | return LGH.warning("a") or Holder.v
v_exsub | return EX.submit(incs2,1).result()
v_tls | return TLS.v
v_wth | return wth()
v_forin | return [y for y in SN][0]
v_neg | return -AD
v_mm | return 1@AD
v_iadd | return iadd()
v_mcall | return MCl() and Holder.v
v_dmiss | return FM["k"]
v_lstcmp | return ([SN]<[S2]) and Holder.v
v_minl | return min([OSUM,OSUM2]) and Holder.v
v_idx | return [SN].index(S2) or Holder.v
v_rem | return [SN].remove(S2) or Holder.v
v_ddict | return {S2:1}=={SN:1} and Holder.v
v_zipit | return next(zip(SN,[1]))
v_isub | return issubclass(int,ICs) and Holder.v
v_jslist | return json.dumps([MyInt2(3)]) and Holder.v
v_jsdict | return json.dumps(KD) and Holder.v
v_npobj | return int((OAA+1)[0])
v_rng | return len(range(1000)[SN:])
v_strsub | return MyStr2("a")+"b" and Holder.v
v_lstsub | return ML3.append(x) or Holder.v
v_dsub | return MD.update(a=1) or Holder.v
v_glist | return len(GL)
v_ganno | return ANN.x
v_lam | return (lambda q=mut(Holder.v+1): q)()
v_deepc | return copy.deepcopy([SN]) and Holder.v
v_pickl | return pickle.dumps([SN]) and Holder.v
v_repr_dc | return str(Dc(SN))
v_hashnt | return hash(NT) and Holder.v
v_hashtup | return hash((SN,)) and Holder.v
v_fsetdc | return hash(FDC) and Holder.v
v_lruk | return lk(SN) and Holder.v
v_tmpl | return string.Formatter().format("{}",SN)
v_getx | return getattr(GA2,"p%d"%(x%2))
v_cond | return cond()
v_typ3 | return type("X",(IS,),{}) and Holder.v
v_lt | return sorted(OL) and Holder.v
v_sort2 | return [OSUM,OSUM2].sort() or Holder.v
v_hq | return heapq.heappush([OSUM],OSUM2) or Holder.v
v_bis | return bisect.bisect([OSUM],OSUM2) or Holder.v
v_sumst | return sum([1],AD)
v_opadd | return operator.add(1,AD)
v_red | return functools.reduce(operator.add,[1,AD])
v_dq | return collections.deque([SN]).count(x) or Holder.v
v_wait | return COND()
v_envb | return envb(x)
v_npput | return npv(x)
v_mvw | return mvw(x)
v_arrT | return arrT(x)
v_arrctx | return lnk(x)
v_vws | return vws(x)
v_bm1 | return bms(x)
v_sysmeth | return syso(x)
v_gatt | return gset(x)
v_iterglob | return LIT.__next__()
u_import_module | m = importlib.import_module('colorsys'); m.last = x; return m.last
"""

ALL_SAFE = r"""
g_sleep | time.sleep(0.004); return x + 1
g_sha | return hashlib.sha256(BIG + bytes([x])).hexdigest()
g_zlib | return len(zlib.compress(BBG))
g_local | d = collections.defaultdict(list); d[x].append(x); return dict(d)
g_dc | p = Dc(x); p.a = p.a + 1; return p.a
g_np | a = np.arange(10) + x; a[0] = 1; return float(a.sum())
g_npsort | a = np.random.default_rng(x).random(200000); a.sort(); return float(a[3])
g_tab | return TAB[x]
g_gen | return sum((i * i for i in range(x)))
g_lru | return fib(x % 20)
g_re | return re.sub('\\d', lambda m: m.group() + '!', str(x))
g_json | return json.loads(json.dumps({'a': [x]}))['a'][0]
g_sorted | return sorted([x, 3, 1], key=lambda v: -v)
g_str | b = io.StringIO(); b.write(str(x)); return b.getvalue()
g_dec | return str(decimal.Decimal(x) / 7)
g_date | return (datetime.datetime(2020, 1, 1) + datetime.timedelta(days=x)).isoformat()
g_log | LG.debug('x %s', x); return x
g_enum | return Color.RED if x % 2 else Color(1)
g_pt | return (Pt.mk(x) + Pt(1)).dbl + Pt.z()
g_partialfn | return functools.reduce(operator.add, map(functools.partial(pow, 2), range(x % 9)), 0)
g_bz | return len(bz2.compress(BBG[:20000]))
g_struct | b = bytearray(8); ST.pack_into(b, 0, x); return ST.unpack_from(b)[0]
g_et | r = ET.fromstring('<a b="%d"/>' % x); r.set('c', '1'); return r.get('b')
g_super | return Sub(x).val()
g_b64 | return base64.b64encode(bytes([x])).decode()
g_stat | return statistics.mean([x, x + 1])
g_counter | return collections.Counter(str(x)).most_common(1)
"""

table(NOT_SAFE, UNSAFE)
table(ALL_SAFE, SAFE)

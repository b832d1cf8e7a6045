"""Functions whose state stands in methods that a library calls, or that a class has overridden.

What one line can say stands in a table: a name, and the body of a function of ``x``.
"""

# The tables use them.
# ruff: noqa: F401

from __future__ import annotations

import abc
import array
import collections
import collections.abc as cabc
import concurrent.futures
import contextlib
import copy
import datetime
import decimal
import functools
import heapq
import io
import itertools
import json
import logging
import math
import operator
import os
import pprint
import queue
import random
import re
import statistics
import string
import struct
import textwrap
import threading
import time
import types
import warnings
import weakref

import numpy as np

UNSAFE = {}


def row(*items, name=None):
    """Register a function that threads may not run, with its items."""

    def add(func):
        UNSAFE[name or func.__name__] = (func, list(items or (3, 4)))
        return func

    return add


def table(text, into):
    """Register functions by the lines of a table."""
    for line in text.strip().splitlines():
        name, _, body = line.partition(" | ")
        exec(f"def row_{name}(x):\n    {body}", globals())
        into[name] = (globals()[f"row_{name}"], [3, 4])


class H:
    v = 0


def bump(*a, **k):
    H.v += 1
    return H.v


LST = [0]

DCT = {}

SET = set()

DQ = collections.deque()

BUF = bytearray(8)

ARR = np.zeros(4)

GEN = (i for i in range(10**6))

CYC = itertools.cycle("ab")


@functools.lru_cache
def cached(x):
    return [x]


class Enc(json.JSONEncoder):
    def default(self, o):
        return bump()


ENC = Enc()


class MM(cabc.MutableMapping):
    def __init__(self):
        self.d = {}

    def __getitem__(self, k):
        return self.d[k]

    def __setitem__(self, k, v):
        self.d[k] = v

    def __delitem__(self, k):
        del self.d[k]

    def __iter__(self):
        return iter(self.d)

    def __len__(self):
        return len(self.d)


M = MM()


class MSeq(cabc.Sequence):
    def __getitem__(self, i):
        bump()
        return 1

    def __len__(self):
        return 2


SEQ = MSeq()


class LA(logging.LoggerAdapter):
    def process(self, m, k):
        bump()
        return (m, k)


LAD = LA(logging.getLogger("fr"), {})


class TZ(datetime.tzinfo):
    def utcoffset(self, d):
        bump()
        return datetime.timedelta(0)

    def dst(self, d):
        return None


TZI = TZ()


class Fm(string.Formatter):
    def get_value(self, k, a, kw):
        return bump()


FMT = Fm()


class Raw(io.RawIOBase):
    def readinto(self, b):
        bump()
        return 0

    def readable(self):
        return True


RAW = Raw()


class Th(threading.Thread):
    def run(self):
        bump()


class Idx:
    def __index__(self):
        return bump()


class CMx(contextlib.ContextDecorator):
    def __enter__(self):
        bump()
        return self

    def __exit__(self, *a):
        pass


@CMx()
def deco(x):
    return x


@contextlib.contextmanager
def cm():
    bump()
    yield


class Q(queue.Queue):
    def _put(self, i):
        bump()
        super()._put(i)


QQ = Q()


class UD(collections.UserDict):
    def __setitem__(self, k, v):
        bump()
        super().__setitem__(k, v)


class Frac(__import__("fractions").Fraction):
    def __add__(self, o):
        bump()
        return 1


class DD(dict):
    def __setitem__(self, k, v):
        bump()
        dict.__setitem__(self, k, v)


class Ctx(decimal.Context):
    pass


CTX = decimal.Context()


class Arr(np.ndarray):
    def __array_finalize__(self, o):
        bump()


AR = np.zeros(3).view(Arr)


class Tpl(string.Template):
    @property
    def pattern2(self):
        return bump()


class Meta(type):
    def __getitem__(c, k):
        return bump()

    def __iter__(c):
        bump()
        return iter([1])

    def __len__(c):
        return bump()

    def __contains__(c, k):
        return bump()

    def __add__(c, o):
        return bump()

    def __eq__(c, o):
        return bump()

    __hash__ = type.__hash__

    def __str__(c):
        return str(bump())

    __repr__ = __str__

    def __getattr__(c, n):
        return bump()

    def __setattr__(c, n, v):
        bump()


class WM(metaclass=Meta):
    pass


class Node:
    def __init__(self, p=None):
        self.p = p
        self.kids = []

    def add(self, k):
        self.kids.append(k)
        return self


ROOT = Node()


def outer_gen():
    n = 0

    def f(x):

        def g():
            nonlocal n
            n += x
            yield n

        return list(g())

    return f


OG = outer_gen()


class Lazy:
    @functools.cached_property
    def t(self):
        return [1]


LZ = Lazy()


class Slots:
    __slots__ = ("_c",)

    def get(self):
        try:
            return self._c
        except AttributeError:
            self._c = [1]
            return self._c


SL = Slots()


class Desc:
    def __init__(self):
        self.d = {}

    def __get__(self, o, t):
        return self.d.get(id(o), 0)

    def __set__(self, o, v):
        self.d[id(o)] = v


class HasD:
    x = Desc()


class Memo:
    def __init__(self, f):
        self.f = f
        self.c = {}

    def __call__(self, x):
        if x not in self.c:
            self.c[x] = self.f(x)
        return self.c[x]


@Memo
def memod(x):
    return x


def count(f):

    @functools.wraps(f)
    def w(*a):
        w.calls += 1
        return f(*a)

    w.calls = 0
    return w


@count
def counted(x):
    return x


class Obs:
    subs = []

    def emit(self, x):
        return [s(x) for s in self.subs]


OB = Obs()

Obs.subs.append(lambda x: bump())

HAND = {"a": bump, "b": len}


class Chain:
    def __init__(self):
        self.q = []

    def where(self, x):
        self.q.append(x)
        return self

    def all(self):
        return self.q


CH = Chain()


class Pool:
    def __init__(self):
        self.free = [1, 2]

    @contextlib.contextmanager
    def take(self):
        c = self.free.pop()
        try:
            yield c
        finally:
            self.free.append(c)


PL = Pool()

NOT_SAFE = r"""
cache_clear | cached.cache_clear(); return 1
cache_info | cached(x); return cached.cache_info().hits
cached_write | cached(1).append(x)
enc | return ENC.encode(1j)
enc_iter | return list(ENC.iterencode([1j]))
mm_update | M.update(a=x); return M['a']
mm_setdefault | return M.setdefault(x,len(M))
mm_pop | return M.pop(x,None)
mm_fresh_ud | d=UD(); d.update(a=x); return H.v
ud_init | return UD(a=x)
seq_index | return SEQ.index(1)
seq_count | return SEQ.count(1)
adapter | LAD.info('a'); return H.v
tzinfo | return datetime.datetime.now(TZI)
tz2 | return datetime.datetime(2020,1,1,tzinfo=TZI).utcoffset()
tz3 | return datetime.datetime(2020,1,1).astimezone(TZI)
fmt | return FMT.format('{0}',x)
fmt_fresh | return Fm().format('{0}',x)
raw | return io.BufferedReader(Raw()).read(1)
thr | t=Th(); t.start(); t.join(); return H.v
structx | return struct.pack('i',Idx())
rangex | return list(range(Idx()))
bytesx | return bytes(Idx())
hexx | return hex(Idx())
chrx | return chr(Idx())
strmul | return 'a'*Idx()
lstmul | return [1]*Idx()
slicex | return [1,2][Idx():]
np_idx | return np.arange(3)[Idx()]
deco | return deco(x)
cmw | with cm(): return H.v
qput | q=Q(); q.put(x); return H.v
frac | return Frac(1)+1
ddset | d=DD(); d[1]=x; return H.v
ctx | CTX.prec=x+1; return CTX.divide(1,3)
ctx2 | return CTX.create_decimal('1.5')
arrf | return AR+1
arrv | return np.zeros(3).view(Arr)
meta_get | return WM[x]
meta_iter | return list(WM)
meta_for | return [a for a in WM]
meta_len | return len(WM)
meta_in | return x in WM
meta_add | return WM+1
meta_eq | return WM==1
meta_str | return str(WM)
meta_fstr | return f'{WM}'
meta_attr | return WM.foo
meta_set | WM.foo=x
chain | ROOT.add(x).add(x); return len(ROOT.kids)
chain2 | return CH.where(x).all()
ogen | return OG(x)
lazy | return LZ.t
slots | return SL.get()
desc | o=HasD(); o.x=x; return o.x
memo | return memod(x)
counted | return counted(x), counted.calls
obs | return OB.emit(x)
hand | return HAND['a'](x)
hand2 | return [f('a') for f in HAND.values()]
hand3 | return HAND.get('a',len)(x)
pool | c=PL.take(); return c.__enter__()
pool2 | return contextlib.ExitStack().enter_context(PL.take())
dictsetm | dict.__setitem__(DCT,0,x); return DCT[0]
setaddm | set.add(SET,x); return len(SET)
listsortm | list.sort(LST)
mapset | list(map(LST.__setitem__,[0],[x])); return LST[0]
getattr_dyn | return getattr(LST,'app'+'end')(x)
gen_sum | return sum(itertools.islice(GEN,3))
gen_zip | return list(zip([1],GEN))
gen_enum | return next(enumerate(GEN))
gen_star | a,*b=itertools.islice(GEN,3); return a
gen_in | return x in GEN
gen_join | return ''.join(itertools.islice(CYC,3))
gen_max | return max(itertools.islice(GEN,2))
gen_dict | return dict(zip('ab',GEN))
gen_np | return np.fromiter(itertools.islice(GEN,2),int)
gen_map | return list(map(lambda a,b:b,[1],GEN))
np_vec | return np.vectorize(bump)(x)
np_piece | return np.piecewise(np.ones(2),[np.ones(2)>0],[bump])
np_apply | return np.apply_along_axis(bump,0,np.ones(2))
pp | return pprint.pformat(Obs())
imul | LST.__imul__(2); return len(LST)
glob_del | del DCT[x]
tw | return textwrap.shorten('a',width=Idx())
red | return functools.reduce(bump,[1,2,3])
ex_map | with concurrent.futures.ThreadPoolExecutor(1) as e: return list(e.map(bump,[1]))
timer | t=threading.Timer(0,bump); t.start(); t.join(); return H.v
tee | a,b=itertools.tee(GEN); return next(a)
stats | return statistics.mean(itertools.islice(GEN,3))
weak | return weakref.ref(LST.__class__) and LST.append(x)
attrs | ROOT.__dict__.update(p=x); return ROOT.p
setd | ROOT.__setattr__('p',x); return ROOT.p
typ | type(ROOT).z=x; return ROOT.z
cls | ROOT.__class__.z=x; return ROOT.z
mod | import math as m; m.z=x; return m.z
mod2 | __import__('math').z=x
fn | bump.z=x; return bump.z
"""

table(NOT_SAFE, UNSAFE)

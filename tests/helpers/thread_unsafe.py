"""Functions that are right in a loop, and wrong, or not known to be right, in threads.

Each is registered with an item. Many of them are what users write: a counter, a buffer, a cache, a connection.
"""

from __future__ import annotations

import contextlib
import csv
import decimal
import functools
import http.client
import io
import itertools
import locale
import logging
import os
import random
import socket
import sqlite3
import sys
import threading
import time
import warnings
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass, field

import numpy as np

UNSAFE: dict[str, tuple[object, list[object]]] = {}


def row(*items, name=None):
    """Register a function with its items."""

    def add(func):
        UNSAFE[name or getattr(func, "__name__", "") or repr(func)] = (func, list(items or (3, 4)))
        return func

    return add


COUNT = 0
TOTAL = [0]
SEEN: list[int] = []
CACHE: dict[int, int] = {}
NAMES: set[int] = set()
BYTES = bytearray(64)
VIEW = memoryview(BYTES)
SCRATCH = np.zeros(1000)
SOURCE = np.arange(1000.0)
QUEUE = deque(range(5))
TALLY: Counter[int] = Counter()
GROUPS = defaultdict(list)
ORDER: OrderedDict[int, int] = OrderedDict()
HEAP = [3, 5, 8]
NUMBERS = itertools.count()
LINES = iter(range(1_000_000))
GENERATOR = (i * i for i in range(1_000_000))
RANDOM = random.Random(5)
DRAWS = np.random.default_rng(5)
CONNECTION = sqlite3.connect(":memory:", check_same_thread=False)
CURSOR = CONNECTION.cursor()
HTTP = http.client.HTTPConnection("127.0.0.1")
SOCKET = socket.socket()
SOCKET.close()
TEXT = io.StringIO("a\nb\n")
READER = csv.reader(TEXT)
LOCAL = threading.local()
LOCAL.ready = 1
Pair = namedtuple("Pair", "left right")
NESTED = {"inner": {"hits": 0, "list": []}}
SHARED = Pair([], {})


class Settings:
    limit = 10
    names: list[str] = []


SETTINGS = Settings()


@row()
def writes_a_global(x):
    global COUNT
    COUNT = x
    time.sleep(0)
    return COUNT


@row()
def adds_to_a_global(x):
    global COUNT
    COUNT += 1
    return COUNT + x


@row()
def deletes_a_global(x):
    global GONE
    GONE = x
    del GONE


def _helper(x):
    global COUNT
    COUNT = COUNT + x
    return COUNT


@row()
def writes_a_global_in_a_helper(x):
    return _helper(x) + 1


@row()
def writes_in_a_helper_of_a_helper(x):
    return _through(x)


def _through(x):
    return _helper(x)


def _counter():
    total = 0

    def count(x):
        nonlocal total
        total += x
        return total

    return count


row(name="writes a nonlocal")(_counter())


def _cell():
    found = []

    def keep(x):
        found.append(x)
        return len(found)

    return keep


row(name="appends to a cell")(_cell())


@row()
def appends_to_a_global(x):
    SEEN.append(x)
    return SEEN[-1]


@row()
def appends_by_a_bound_method(x):
    add = SEEN.append
    add(x)


@row()
def writes_an_element(x):
    TOTAL[0] += x
    return TOTAL[0]


@row()
def writes_a_dict(x):
    CACHE[x] = x
    return CACHE


@row()
def memoises(x):
    if x not in CACHE:
        CACHE[x] = x * x
    return CACHE[x]


@row()
def sets_a_default(x):
    return CACHE.setdefault(x, len(CACHE))


@row()
def updates_a_dict(x):
    CACHE.update({x: 1})


@row()
def updates_in_place(x):
    global CACHE
    CACHE |= {x: 1}


@row()
def pops(x):
    return CACHE.pop(x, None)


@row()
def adds_to_a_set(x):
    NAMES.add(x)


@row()
def clears(x):
    SEEN.clear()


@row()
def deletes_an_element(x):
    del CACHE[x]


@row()
def sorts(x):
    HEAP.sort()


@row()
def writes_a_slice(x):
    BYTES[:4] = b"%4d" % x
    return bytes(BYTES)


@row()
def writes_a_view(x):
    VIEW[0] = x
    return VIEW[0]


@row()
def writes_a_nested_element(x):
    NESTED["inner"]["hits"] += 1


@row()
def writes_a_nested_list(x):
    NESTED["inner"]["list"].append(x)


@row()
def writes_what_a_tuple_holds(x):
    SHARED.left.append(x)


@row()
def loops_over_a_global_and_writes(x):
    for one in [NESTED]:
        one["x"] = x


@row()
def writes_by_another_name(x):
    table = CACHE
    again = table
    again[x] = 1


@row()
def writes_one_of_two(x):
    table = {} if x else CACHE
    table[x] = 1


@row()
def writes_what_it_has_stored(x):
    mine = {}
    mine["shared"] = SEEN
    mine["shared"].append(x)


@row()
def writes_through_a_list(x):
    for table in (SEEN, TOTAL):
        table.append(x)


@row()
def writes_in_an_except(x):
    try:
        return 1 // (x - x)
    except ZeroDivisionError:
        CACHE["errors"] = x


@row()
def writes_in_a_finally(x):
    try:
        return x
    finally:
        TOTAL[0] = x


@row()
def writes_in_a_comprehension(x):
    return [SEEN.append(i) for i in range(x)]


@row()
def writes_in_a_lambda(x):
    return list(map(lambda i: CACHE.update({i: x}), range(3)))


@row()
def writes_by_a_mapped_method(x):
    return list(map(SEEN.append, range(x)))


@row()
def writes_in_a_key(x):
    return sorted(range(x), key=lambda i: SEEN.append(i) or i)


@row()
def writes_in_a_local_function(x):
    def inner(y):
        CACHE[y] = x

    inner(x)


@row()
def writes_in_a_generator(x):
    def inner():
        for i in range(x):
            SEEN.append(i)
            yield i

    return sum(inner())


@row()
def a_mutable_default(x, found=[]):
    found.append(x)
    return len(found)


@row()
def a_mutable_default_by_name(x, *, found={}):
    found[x] = 1
    return found


@row()
def an_attribute_of_itself(x):
    an_attribute_of_itself.calls = x
    return an_attribute_of_itself.calls


@row()
def writes_an_object(x):
    SETTINGS.limit = x
    return SETTINGS.limit


@row()
def writes_a_class(x):
    Settings.limit = x


@row()
def writes_what_a_class_holds(x):
    Settings.names.append(str(x))


@row()
def sets_by_name(x):
    setattr(SETTINGS, "limit", x)


@row()
def deletes_by_name(x):
    delattr(SETTINGS, "limit")


@row()
def writes_a_module(x):
    decimal.hello = x


@row()
def writes_globals(x):
    globals()["COUNT"] = x


class Counted:
    def __init__(self):
        self.hits = 0
        self.found = []
        self.buffer = np.zeros(1000)

    def count(self, x):
        self.hits += 1
        return self.hits * x

    def keep(self, x):
        self.found.append(x)

    def deep(self, x):
        return self._more(x)

    def _more(self, x):
        self.found[0] = x
        return x

    def compute(self, x):
        np.multiply(SOURCE, x, out=self.buffer)
        return float(self.buffer.sum())

    def __call__(self, x):
        self.hits = x
        return self.hits

    @property
    def next_number(self):
        self.hits += 1
        return self.hits

    @functools.cached_property
    def table(self):
        return [1, 2, 3]


COUNTED = Counted()
row(name="a bound method that counts")(COUNTED.count)
row(name="a bound method that keeps")(COUNTED.keep)
row(name="a bound method that calls another")(COUNTED.deep)
row(name="a bound method with a buffer")(COUNTED.compute)
row(name="an object that is called")(COUNTED)


@row()
def a_property_that_writes(x):
    return COUNTED.next_number


@row()
def a_cached_property(x):
    return Counted.__new__(Counted) and COUNTED.table


@dataclass
class Model:
    weights: list[float] = field(default_factory=list)

    def fit(self, x):
        self.weights.append(x)
        return sum(self.weights)


MODEL = Model()
row(name="a dataclass's method")(MODEL.fit)


class Base:
    def run(self, x):
        return self.step(x)

    def step(self, x):
        return x


class Derived(Base):
    hits = 0

    def step(self, x):
        Derived.hits += 1
        return super().step(x)


row(name="an overridden method")(Derived().run)


class Proxy:
    def __setitem__(self, key, value):
        self.last = key

    def __getitem__(self, key):
        self.last = key
        return self.last

    def __iadd__(self, other):
        self.last = other
        return self

    def __add__(self, other):
        SEEN.append(other)
        return 1

    def __contains__(self, key):
        self.last = key
        return True

    def __enter__(self):
        self.depth = 1
        return self

    def __exit__(self, *_):
        self.depth = 0

    def __iter__(self):
        self.at = 0
        return self

    def __next__(self):
        self.at += 1
        if self.at > 3:
            raise StopIteration
        return self.at

    def __len__(self):
        self.asked = True
        return 3

    def __getattr__(self, name):
        SEEN.append(name)
        return 1


PROXY = Proxy()


@row()
def an_item_of_an_object(x):
    return PROXY[x]


@row()
def sets_an_item_of_an_object(x):
    PROXY[x] = 1


@row()
def adds_to_an_object(x):
    return PROXY + x


@row()
def searches_an_object(x):
    return x in PROXY


@row()
def enters_an_object(x):
    with PROXY:
        return x


@row()
def loops_over_an_object(x):
    return [i * x for i in PROXY]


@row()
def sums_an_object(x):
    return sum(PROXY) + x


@row()
def the_length_of_an_object(x):
    return len(PROXY) + x


@row()
def an_attribute_made_anew(x):
    return PROXY.anything + x


def _partial(buffer, x):
    buffer[0] = x
    return buffer[0]


row(name="a partial with a list")(functools.partial(_partial, [0]))
row(name="a partial of a partial")(functools.partial(functools.partial(_partial, [0])))
row(name="a partial by name")(functools.partial(lambda x, into: into.append(x), into=[]))


def logged(func):
    @functools.wraps(func)
    def wrapper(*args, **kwargs):
        CACHE[func.__name__] = args
        return func(*args, **kwargs)

    return wrapper


def passed_on(func):
    @functools.wraps(func)
    def wrapper(*args, **kwargs):
        return func(*args, **kwargs)

    return wrapper


@row()
@logged
def a_decorator_that_writes(x):
    return x


@row()
@passed_on
def writes_behind_a_decorator(x):
    CACHE[x] = x
    return x


row(name="wraps a known function")(logged(time.sleep))


class Retried:
    def __init__(self, func):
        self.func = func
        self.calls = 0

    def __call__(self, *args):
        self.calls += 1
        return self.func(*args)


row(name="a decorator that is a class")(Retried(abs))


@row()
@functools.lru_cache
def writes_behind_a_cache(x):
    SEEN.append(x)
    return x


@functools.lru_cache
def _shared_list(x):
    return []


@row()
def writes_what_a_cache_returns(x):
    found = _shared_list(0)
    found.append(x)
    return len(found)


@functools.cache
def _connection():
    return sqlite3.connect(":memory:")


@row()
def a_cached_connection(x):
    return _connection().execute("select 1").fetchone()


@row()
def writes_out(x):
    np.sqrt(SOURCE + x, out=SCRATCH)
    return SCRATCH.sum()


@row()
def writes_out_by_place(x):
    np.add(SOURCE, x, SCRATCH)
    return SCRATCH.sum()


@row()
def writes_out_of_a_method(x):
    SOURCE.cumsum(out=SCRATCH)
    return SCRATCH[x]


@row()
def writes_an_array(x):
    SCRATCH[:] = x
    return SCRATCH.sum()


@row()
def writes_an_array_in_place(x):
    global SCRATCH
    SCRATCH += x
    return SCRATCH.sum()


@row()
def writes_a_view_of_an_array(x):
    part = SCRATCH[10:20]
    part[0] = x
    return part.sum()


@row()
def writes_a_reshaped_array(x):
    np.reshape(SCRATCH, (10, 100))[0, 0] = x


@row()
def writes_a_raveled_array(x):
    flat = SCRATCH.reshape(-1)
    flat += x
    return flat.sum()


@row()
def fills_an_array(x):
    SCRATCH.fill(x)
    return SCRATCH.sum()


@row()
def copies_to_an_array(x):
    np.copyto(SCRATCH, x)


@row()
def shuffles(x):
    random.shuffle(HEAP)


@row()
def draws(x):
    return RANDOM.random()


@row()
def draws_by_numpy(x):
    return DRAWS.normal()


@row()
def seeds(x):
    random.seed(x)
    return random.random()


@row()
def seeds_numpy(x):
    np.random.seed(x)
    return np.random.rand()


@row()
def asks_a_connection(x):
    return CONNECTION.execute("select ?", (x,)).fetchone()


@row()
def asks_a_cursor(x):
    CURSOR.execute("select 1")
    return CURSOR.fetchall()


@row()
def makes_a_cursor(x):
    cursor = CONNECTION.cursor()
    return cursor.execute("select 1").fetchone()


@row()
def asks_a_server(x):
    HTTP.request("GET", "/")
    return HTTP.getresponse().read()


@row()
def sends(x):
    SOCKET.sendall(b"x")
    return SOCKET.recv(10)


class Client:
    def __init__(self):
        self.connection = sqlite3.connect(":memory:", check_same_thread=False)

    def ask(self, x):
        return self.connection.execute("select 1").fetchone()


row(name="a client with a connection")(Client().ask)
row(name="a bound method of a connection")(CONNECTION.execute)


def _with_connection(connection, x):
    return connection.execute("select 1")


row(name="a partial with a connection")(functools.partial(_with_connection, CONNECTION))


@row()
def takes_the_next(x):
    return next(LINES)


@row()
def counts_on(x):
    return next(NUMBERS)


@row()
def asks_a_generator(x):
    return next(GENERATOR)


@row()
def loops_over_an_iterator(x):
    for line in LINES:
        return line


@row()
def takes_of_an_iterator(x):
    return list(itertools.islice(LINES, 3))


@row()
def reads_a_file(x):
    TEXT.seek(0)
    return TEXT.readline()


@row()
def reads_rows(x):
    return [row for row in READER]


@row()
def hands_a_file_on(x):
    print(x, file=TEXT)


@row()
def pushes_to_a_heap(x):
    import heapq

    heapq.heappush(HEAP, x)
    return HEAP[0]


@row()
def inserts_sorted(x):
    import bisect

    bisect.insort(HEAP, x)


@row()
def packs_into(x):
    import struct

    struct.pack_into("i", BYTES, 0, x)
    return bytes(BYTES)


@row()
def reads_into(x):
    with open(os.devnull, "rb") as file:
        return file.readinto(BYTES)


@row()
def pops_left(x):
    return QUEUE.popleft()


@row()
def rotates(x):
    QUEUE.rotate(1)
    return QUEUE[0]


@row()
def tallies(x):
    TALLY[x] += 1


@row()
def tallies_more(x):
    TALLY.update([x])


@row()
def groups(x):
    return GROUPS[x]


@row()
def groups_more(x):
    GROUPS[x].append(x)


@row()
def orders(x):
    ORDER.move_to_end(x)


@row(".", "..")
def changes_the_folder(x):
    os.chdir(x)
    return os.getcwd()


@row()
def sets_the_environment(x):
    os.environ["AMORSIZE_TEST_ONLY"] = str(x)
    return os.environ["AMORSIZE_TEST_ONLY"]


@row()
def updates_the_environment(x):
    os.environ.update(AMORSIZE_TEST_ONLY=str(x))


@row()
def puts_the_environment(x):
    os.putenv("AMORSIZE_TEST_ONLY", str(x))


@row()
def catches_warnings(x):
    with warnings.catch_warnings(record=True) as found:
        warnings.warn("x", stacklevel=1)
        return len(found)


@row()
def ignores_warnings(x):
    warnings.simplefilter("ignore")


@row()
def redirects(x):
    with contextlib.redirect_stdout(io.StringIO()) as text:
        print(x)
    return text.getvalue()


@row()
def sets_stdout(x):
    sys.stdout = io.StringIO()


@row()
def sets_the_locale(x):
    locale.setlocale(locale.LC_ALL, "C")


@row()
def sets_a_handler(x):
    import signal

    signal.signal(signal.SIGTERM, signal.SIG_DFL)


@row()
def sets_the_precision(x):
    decimal.getcontext().prec = x
    return decimal.Decimal(1) / 3


@row()
def sets_a_socket_timeout(x):
    socket.setdefaulttimeout(x)


@row()
def sets_the_level(x):
    logging.getLogger("amorsize.test").addHandler(HANDLER)


HANDLER = logging.NullHandler()


@row()
def sets_the_umask(x):
    os.umask(x)


@row()
def sets_print_options(x):
    np.set_printoptions(precision=x)
    return str(np.pi)


@row()
def sets_errors(x):
    np.seterr(all="ignore")


@row()
def reads_of_a_local(x):
    return LOCAL.ready + x


LOCK = threading.Lock()


@row()
def writes_under_a_lock(x):
    global COUNT
    with LOCK:
        COUNT += 1
        return COUNT


@contextlib.contextmanager
def _changed(x):
    before = SETTINGS.limit
    SETTINGS.limit = x
    yield
    SETTINGS.limit = before


@row()
def a_context_that_writes(x):
    with _changed(x):
        return SETTINGS.limit


@row()
def runs_code(x):
    exec("COUNT = 1", globals())


@row()
def evaluates(x):
    return eval("x + 1")


@row()
def calls_what_it_does_not_know(x):
    return UNKNOWN_CALL(x)


UNKNOWN_CALL = sys.setswitchinterval


class Node:
    def __init__(self, owner):
        self.owner = owner
        owner.append(self)


@row()
def an_init_that_writes_its_argument(x):
    return Node(SEEN)


@row()
def an_object_that_holds_a_global(x):
    holder = Counted()
    holder.found = SEEN
    holder.keep(x)


@row()
def unpacks_and_writes(x):
    first, second = SEEN, CACHE
    second[x] = first


@row()
def matches_and_writes(x):
    match NESTED:
        case {"inner": inner}:
            inner["hits"] = x


@row()
def walrus_and_writes(x):
    if (table := CACHE) is not None:
        table[x] = 1


@row()
def recursive_and_writes(x):
    if x > 0:
        recursive_and_writes(x - 1)
    SEEN.append(x)


@row()
def copies_too_little(x):
    import copy

    mine = copy.copy(NESTED)
    mine["inner"]["hits"] = x


@row()
def copies_a_list_too_little(x):
    mine = list([NESTED])
    mine[0]["inner"] = x


@row()
def starred(x):
    first, *rest = [SEEN, CACHE]
    rest[0][x] = first


@row()
def by_getattr(x):
    getattr(SEEN, "append")(x)


@row()
def unbound(x):
    list.append(SEEN, x)


@row()
def a_ufunc_at(x):
    np.add.at(SCRATCH, [0], x)


ITEM = [1, 2]


@row(ITEM, ITEM, name="writes an item that comes twice")
def writes_its_item(x):
    x.append(1)
    return len(x)


@row((SEEN, 1), (SEEN, 2), name="writes a part of its item")
def writes_a_part(x):
    x[0].append(x[1])
    return len(x[0])


async def _coroutine(x):
    return x


@row()
def makes_a_coroutine(x):
    return _coroutine(x)


TABLE = None


@row()
def makes_a_table_once(x):
    global TABLE
    if TABLE is None:
        TABLE = [x * x for x in range(10)]
    return TABLE[x]


class Lazy:
    def __init__(self):
        self.table = None

    def look_up(self, x):
        if not self.table:
            self.table = {i: i * i for i in range(10)}
        return self.table[x]


row(name="a table made once")(Lazy().look_up)


@row()
def writes_out_by_place_without_a_ufunc(x):
    np.dot(np.ones((1000, 1)), np.ones(1), SCRATCH)
    return SCRATCH.sum()


@row()
def writes_out_by_place_of_a_method(x):
    SOURCE.clip(0, x, SCRATCH)
    return SCRATCH.sum()


@row()
def raises_and_writes(x):
    try:
        raise ValueError(SEEN)
    except ValueError as exc:
        exc.args[0].append(x)


@row()
def writes_by_starmap(x):
    return list(itertools.starmap(list.append, [(SEEN, x)]))


class Missing(dict):
    def __missing__(self, key):
        self[key] = key
        return key


MISSING = Missing()


@row()
def adds_what_is_missing(x):
    return MISSING[x]


class Hashed:
    def __hash__(self):
        SEEN.append(1)
        return 1


HASHED = Hashed()


@row()
def hashes_and_writes(x):
    return HASHED in {1: 2}


@row()
def writes_in_a_class_of_its_own(x):
    class Writer:
        def write(self, value):
            SEEN.append(value)

    Writer().write(x)


@row()
def hands_a_global_to_a_class_of_its_own(x):
    class Writer:
        def __init__(self, into):
            self.into = into

        def write(self, value):
            self.into.append(value)

    Writer(SEEN).write(x)


@row()
def a_class_of_its_own_that_derives(x):
    class Mine(Counted):
        pass

    return Mine().count(x)


@row()
def shuffles_by_numpy(x):
    np.random.shuffle(SCRATCH)
    return SCRATCH[0]


MANY = {str(i): (abs, len, int)[i % 3] for i in range(10)} | {"chdir": os.chdir}


@row(".", "..")
def calls_one_of_many(x):
    return MANY[f"ch{x}"](x)


HANDLERS = {str(i): squares for i, squares in enumerate([lambda x: x] * 20)}
HANDLERS["last"] = appends_to_a_global


@row()
def calls_one_of_many_handlers(x):
    return HANDLERS[str(x)](x)

"""Functions that are right in threads, and that the look must find so. Each is registered with an item."""

from __future__ import annotations

import base64
import collections
import contextlib
import csv
import datetime
import decimal
import enum
import functools
import gzip
import hashlib
import io
import itertools
import json
import logging
import math
import operator
import os
import pathlib
import queue
import random
import re
import sqlite3
import statistics
import string
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
import zlib
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

SAFE: dict[str, tuple[object, list[object]]] = {}


def row(*items, name=None):
    """Register a function with its items."""

    def add(func):
        SAFE[name or getattr(func, "__name__", "") or repr(func)] = (func, list(items or (3, 4)))
        return func

    return add


LIMIT = 10
NAMES = ("a", "b", "c")
TABLE = {"a": 1, "b": 2}
ROWS = [{"name": "a", "n": 1}, {"name": "b", "n": 2}]
WORDS = re.compile(r"\w+")
WEIGHTS = np.arange(100.0)
LOCK = threading.Lock()
RESULTS: queue.Queue[int] = queue.Queue()
LOG = logging.getLogger("amorsize.test")
HEADERS = {"User-Agent": "test"}
ROOT = pathlib.Path(os.devnull)
LOCAL = threading.local()
SINCE = datetime.datetime(2024, 1, 1)
STRUCT = struct.Struct("<i")
BLOCK = b"x" * 10_000
Point = collections.namedtuple("Point", "x y")


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Spot(NamedTuple):
    x: int
    y: int = 0


@dataclass
class Row:
    name: str
    parts: list[int] = field(default_factory=list)

    def add(self, value):
        self.parts.append(value)
        return self


@dataclass(frozen=True)
class Fixed:
    factor: int
    table: dict[str, int]

    def scaled(self, x):
        return x * self.factor + self.table["a"]


row(0.0, name="sleeps")(time.sleep)
row(b"abc", name="hashes")(hashlib.sha256)
row(b"abc", name="compresses")(zlib.compress)
row("[1]", name="loads")(json.loads)
row([1, 2], name="dumps")(json.dumps)
row([3, 1], name="sorts")(sorted)
row([3, 1], name="sums")(sum)
row(np.arange(5.0), name="roots")(np.sqrt)
row(np.arange(5.0), name="adds up")(np.sum)
row("abc", name="upper")(str.upper)


@row()
def squares(x):
    return x * x


@row(0.0)
def waits(x):
    time.sleep(x)
    return x


def _nap(x):
    time.sleep(x / 1000)
    return x


@row()
def waits_in_a_helper(x):
    return _nap(x) + 1


@row()
def waits_and_tries_again(x):
    for attempt in range(3):
        try:
            time.sleep(0.0)
            return x / (attempt + 1)
        except ZeroDivisionError:
            time.sleep(random.random() / 1000)
    raise ValueError("never")


@row(b"abc" * 1000)
def digests(block):
    found = hashlib.sha256()
    found.update(block)
    return found.hexdigest()


@row(b"abc" * 1000)
def deflates(block):
    packer = zlib.compressobj()
    return packer.compress(block) + packer.flush()


@row(b"abc" * 1000)
def zips(block):
    return len(gzip.compress(block)) + len(base64.b64encode(block))


@row(np.arange(10.0))
def array_sum(array):
    return float(array.sum()) + array.mean() + len(array)


@row(np.ones((3, 3)))
def product(array):
    return (array @ array.T).trace()


@row(np.ones(3))
def array_of_its_own(array):
    found = np.zeros_like(array)
    found += array
    found[0] = 1
    np.multiply(found, 2, out=found)
    found.sort()
    return found


@row()
def weighted(x):
    return float((WEIGHTS * x).sum() + WEIGHTS[3])


@row()
def noise(seed):
    return np.random.default_rng(seed).normal(size=3).sum()


@row()
def draws_of_its_own(seed):
    source = random.Random(seed)
    found = [source.random() for _ in range(3)]
    source.shuffle(found)
    return found


@row(os.devnull)
def reads_a_file(path):
    with open(path, "rb") as file:
        return file.read()


@row(os.devnull)
def reads_lines(path):
    found = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            found.append(line.strip().split(","))
    return found


@row(pathlib.Path(os.devnull))
def reads_a_path(path):
    return len(path.read_bytes()) + len(path.name) + (path.parent / "x").suffix.count(".")


@row()
def reads_a_global_path(x):
    return ROOT.read_text() * x


@row(os.devnull)
def asks_the_system(path):
    return os.stat(path).st_size + len(os.path.basename(path)) + os.path.exists(path)


@row("x")
def writes_a_file_of_its_own(text):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "a.txt")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
            print(text, file=file)
        return os.path.getsize(path)


@row("http://127.0.0.1:9/")
def fetches(url):
    request = urllib.request.Request(url, headers=HEADERS)
    with urllib.request.urlopen(request, timeout=1) as answer:
        return json.loads(answer.read().decode())["x"]


@row("http://127.0.0.1:9/")
def fetches_or_not(url):
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return answer.status, answer.headers.get("x"), answer.read()
    except OSError as exc:
        return str(exc)


@row("http://a.b/c?d=e")
def parses_an_address(url):
    parts = urllib.parse.urlsplit(url)
    return parts.netloc, dict(urllib.parse.parse_qsl(parts.query))


@row(1)
def runs_a_program(x):
    return subprocess.run([sys.executable, "-c", "pass"], capture_output=True, check=True, text=True).stdout


@row("a b c")
def counts_words(text):
    return collections.Counter(text.split()).most_common(2)


@row("a b c")
def matches(text):
    found = WORDS.findall(text)
    return WORDS.sub(lambda m: m.group().upper(), text), len(found), re.split(r"\s", text)


@row("a")
def reads_a_dict(key):
    return TABLE[key] + TABLE.get("b", 0) + len(TABLE) + sum(TABLE.values())


@row("a")
def loops_over_a_dict(key):
    return [name * value for name, value in TABLE.items() if name in NAMES]


@row()
def reads_rows(x):
    return [one["n"] * x for one in ROWS if one["name"] != "z"]


@row()
def builds_a_list(x):
    found = []
    for i in range(x):
        found.append(i * i)
    found.sort(key=lambda i: -i)
    found += [1]
    found[0] = 5
    return found


@row()
def builds_a_dict(x):
    found = collections.defaultdict(list)
    for i in range(x):
        found[i % 2].append(i)
    counts = {}
    for key, group in found.items():
        counts[key] = counts.get(key, 0) + len(group)
    counts.update(last=x)
    return counts


@row()
def copies_before_it_writes(x):
    mine = dict(TABLE)
    mine["x"] = x
    rows = list(ROWS)
    rows.append(x)
    other = TABLE.copy()
    other.pop("a")
    return mine, rows, other


@row()
def copies_deeply(x):
    import copy

    rows = copy.deepcopy(ROWS)
    rows[0]["n"] = x
    return rows


@row()
def builds_rows_of_new_dicts(x):
    return [{**one, "x": x} for one in ROWS]


@row()
def builds_an_object(x):
    made = Row("a")
    made.add(x).add(x + 1)
    made.parts[0] = 3
    made.name = "b"
    return made


class Parser:
    kind = "parser"

    def __init__(self, text):
        self.text = text
        self.at = 0
        self.found = {}

    def run(self):
        while self.at < len(self.text):
            self._step()
        return self.found

    def _step(self):
        self.found[self.at] = self.text[self.at]
        self.at += 1


@row("abc")
def builds_a_parser(text):
    return Parser(text).run()


class Stack(list):
    def push(self, value):
        self.append(value)
        return self


@row()
def builds_a_subclass(x):
    return Stack([1]).push(x)[0]


class Derived(Parser):
    def __init__(self, text):
        super().__init__(text)
        self.more = []

    def _step(self):
        super()._step()
        self.more.append(self.at)


@row("abc")
def builds_a_derived_object(text):
    parser = Derived(text)
    parser.run()
    return parser.more


@row()
def builds_tuples(x):
    one, two = Spot(x), Point(x, 2)
    return one.x + two.y + one._replace(y=2).y


@row()
def reads_an_enum(x):
    return Colour.RED.value if x else Colour(2).name


class Scaler:
    """Reads what it holds."""

    def __init__(self, factor):
        self.factor = factor
        self.table = {"a": 1}
        self.weights = np.ones(3)

    def scale(self, x):
        return self._scaled(x) + self.table["a"] + float(self.weights.sum())

    def _scaled(self, x):
        return x * self.factor

    def __call__(self, x):
        time.sleep(0)
        return self.scale(x)

    @property
    def twice(self):
        return 2 * self.factor

    @staticmethod
    def plus(x):
        return x + 1

    @classmethod
    def made(cls, x):
        return cls(x).scale(x)


SCALER = Scaler(3)
row(name="a bound method that reads")(SCALER.scale)
row(name="an object that is called")(SCALER)
row(name="a static method")(Scaler.plus)
row(name="a class method")(Scaler.made)
row(name="a frozen dataclass's method")(Fixed(2, {"a": 1}).scaled)
row(name="a class of the user's")(Parser)


@row()
def reads_a_property(x):
    return SCALER.twice * x


def _power(base, exponent, *, scale=1):
    return scale * base**exponent


row(name="a partial")(functools.partial(_power, 2))
row(name="a partial by name")(functools.partial(_power, exponent=2, scale=3))


def timed(func):
    @functools.wraps(func)
    def wrapper(*args, **kwargs):
        began = time.perf_counter()
        result = func(*args, **kwargs)
        return result, time.perf_counter() - began >= 0

    return wrapper


def retried(times):
    def decorate(func):
        @functools.wraps(func)
        def wrapper(*args, **kwargs):
            for attempt in range(times):
                try:
                    return func(*args, **kwargs)
                except OSError as exc:
                    if attempt == times - 1:
                        raise RuntimeError("failed") from exc
                    time.sleep(0)
            return None

        return wrapper

    return decorate


@row()
@timed
@retried(3)
def behind_two_decorators(x):
    time.sleep(0)
    return x


@functools.lru_cache(maxsize=None)
def _table(n):
    return [i * i for i in range(n)]


@row()
def reads_a_cache(x):
    return _table(10)[x] + x


@row()
@functools.cache
def cached(x):
    time.sleep(0)
    return x * x


@functools.lru_cache
def _pattern(text):
    return re.compile(text)


@row("abc")
def a_cached_pattern(text):
    return bool(_pattern("b").search(text))


def _made(factor, table):
    def scale(x):
        return x * factor + table["a"]

    return scale


row(name="a closure that reads")(_made(3, {"a": 1}))
row(name="a lambda")(lambda x: [i + x for i in range(3)])


@row()
def inner_functions(x):
    total = 0
    found = []

    def add(y):
        nonlocal total
        total += y
        found.append(y)
        return total

    def walk(n):
        return n if n < 2 else walk(n - 1) + walk(n - 2)

    for i in range(3):
        add(i)
    return total, found, walk(x), list(map(add, [1])), sorted(found, key=lambda y: -y)


@row()
def recursive(x):
    return 1 if x < 2 else recursive(x - 1) + recursive(x - 2)


def _numbers(n):
    at = 0
    while at < n:
        yield at
        at += 1
    yield from range(3)


@row()
def generators(x):
    return sum(i for i in _numbers(x)) + next(iter(_numbers(2)), 0)


@row()
def tools(x):
    pairs = list(zip(range(3), NAMES, strict=True))
    chained = list(itertools.chain(pairs, enumerate(NAMES)))
    return (
        [*itertools.islice(chained, 2)],
        functools.reduce(operator.add, [1, 2]),
        max(pairs, key=operator.itemgetter(0)),
    )


@row()
def numbers(x):
    return math.sqrt(x) + statistics.mean([1, x]) + int("3") + round(x / 3, 2) + float(decimal.Decimal(x) / 3)


@row()
def precise(x):
    with decimal.localcontext() as context:
        context.prec = 30
        return decimal.Decimal(1) / x


@row()
def texts(x):
    name = f"{x:>5}|{NAMES[0]!r}"
    return name.strip().upper().split("|"), string.Template("$a").substitute(a=x), "%s-%d" % (name, x), "".join(NAMES)


@row()
def dates(x):
    return (SINCE + datetime.timedelta(days=x)).isoformat(), datetime.datetime.now().year, SINCE.strftime("%Y")


@row()
def packs(x):
    buffer = bytearray(8)
    struct.pack_into("<i", buffer, 0, x)
    view = memoryview(buffer)
    view[4] = 1
    return STRUCT.unpack(STRUCT.pack(x)), bytes(view)


@row("a,b\nc,d\n")
def reads_csv(text):
    return [line for line in csv.reader(io.StringIO(text))]


@row()
def asks_a_database_of_its_own(x):
    connection = sqlite3.connect(":memory:")
    try:
        cursor = connection.cursor()
        cursor.execute("select ?", (x,))
        return cursor.fetchone()[0]
    finally:
        connection.close()


@row()
def locks(x):
    with LOCK:
        return x + LIMIT


@row()
def queues(x):
    RESULTS.put(x)
    return x


@row()
def logs(x):
    LOG.debug("item %s", x)
    logging.getLogger(__name__).debug("item")
    print(x, file=None) if x < 0 else None
    return x


@row()
def a_local_of_each_thread(x):
    if not hasattr(LOCAL, "found"):
        LOCAL.found = []
    LOCAL.found.append(x)
    return x


@row({"name": "a", "tags": ["x", "y"], "n": 3})
def methods_of_parts(item):
    return (
        item["name"].upper(),
        [tag.strip() for tag in item["tags"]],
        item.get("n", 0) + 1,
        sorted(item.items(), key=str),
    )


@row(("a", 3), ("b", 4))
def unpacks_the_item(item):
    name, number = item
    return name.upper() * number


@row({"a": 1}, {"b": 2})
def writes_its_own_item(item):
    item["done"] = True
    return len(item)


@row([3, 1], [2, 1])
def sorts_its_own_item(item):
    item.sort()
    return item[0]


@row(Row("a"), Row("b"))
def an_object_as_item(item):
    return item.name.upper(), len(item.parts)


@row("text")
def catches(item):
    try:
        return int(item)
    except (ValueError, TypeError) as exc:
        return exc.args
    finally:
        time.sleep(0)


@row()
def matches_a_shape(x):
    match {"kind": "a", "n": x}:
        case {"kind": "a", "n": int(n)}:
            return n
        case [first, *_]:
            return first
        case _:
            return None


@row()
def loops(x):
    at = 0
    while True:
        at += 1
        if at > x:
            break
        elif at % 2:
            continue
    else:
        at = -1
    return (
        at,
        [a * b for a in range(3) for b in range(a) if a],
        {a: b for a, b in zip("ab", "cd", strict=True)},
        {1, 2} | {x},
    )


@contextlib.contextmanager
def _clock(name):
    began = time.perf_counter()
    found = {"name": name}
    try:
        yield found
    finally:
        found["took"] = time.perf_counter() - began


@row()
def a_context_of_its_own(x):
    with _clock("a") as found, contextlib.suppress(KeyError):
        found["x"] = x
        return found["nothing"]


@row()
def keywords(x):
    def inner(a, *rest, b=1, **more):
        return a, rest, b, more

    values = {"b": x, "c": 2}
    return inner(*[x, 1, 2], **values), inner(x, b=2)


@row()
def imports_inside(x):
    import html
    from fractions import Fraction

    return html.escape("<a>"), Fraction(1, x + 1)


@row()
def slices(x):
    first, *rest = list(range(10))[2:8]
    rest[0:2] = [x]
    return first, rest[-1], NAMES[1:][0], BLOCK[3:9]


@row()
def sleeps_for_an_array(x):
    time.sleep(0)
    values = np.array([x, x + 1], dtype=float)
    return {"mean": values.mean(), "max": values.max(), "list": values.tolist(), "norm": np.linalg.norm(values)}


@row()
def writes_to_stdout(x):
    sys.stdout.write("")
    print(x * "", file=sys.stderr, end="")
    return x

"""Bytes: hashing, compressing, counting; files of bytes; memory."""

from __future__ import annotations

import random

from benchmarks import functions
from benchmarks.workloads.files import longest_sources
from benchmarks.workloads.registry import Task, register


@register("sha3 of 500 kB", "250 blocks: releases the interpreter's lock", "blocks")
def digests() -> Task:
    source = random.Random(6)
    block = source.randbytes(500_000)
    return functions.digest, [block[i:] + block[:i] for i in range(250)]


@register("many short hashes", "500 items of 2,000 hashes of 32 bytes each, under the interpreter's lock", "blocks")
def short_digests() -> Task:
    return functions.short_digests, list(range(500))


@register("lzma, 100 × 60 kB", "long items for their size; releases the interpreter's lock", "blocks")
def packing() -> Task:
    source = random.Random(8)
    words = [source.randbytes(source.randrange(3, 9)).hex().encode() for _ in range(3_000)]
    return functions.pack, [b" ".join(source.choices(words, k=6_000))[:60_000] for _ in range(100)]


@register("words in 1 MB of bytes", "40 blocks: large arguments, small results, and the lock is held", "blocks")
def words() -> Task:
    source = random.Random(9)
    known = [source.randbytes(4).hex().encode() for _ in range(20_000)]
    return functions.count_words, [b" ".join(source.choices(known, k=111_000)) for _ in range(40)]


@register(
    "read and hash files", "1,500 sources of the standard library, its tests among them, from the page cache", "blocks"
)
def files() -> Task:
    return functions.digest_file, longest_sources(1_500, tests=True)


@register("80 MB in each item", "20 items that take 80 MB each, use it, and give it back", "blocks")
def hungry() -> Task:
    return functions.touch, list(range(20))

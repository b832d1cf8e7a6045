"""Strings, and files of text."""

from __future__ import annotations

import json
import random
from typing import Any

from benchmarks import functions
from benchmarks.workloads.files import longest_sources
from benchmarks.workloads.registry import Task, register


def log_lines(source: random.Random, count: int) -> list[str]:
    return [
        f"10.0.{source.randrange(256)}.{source.randrange(256)} {source.choice(('INFO', 'WARN', 'DEBUG'))} "
        f"path=/items/{source.randrange(5000)}?page={source.randrange(9)} took={source.randrange(2000)}ms"
        for _ in range(count)
    ]


def documents(count: int) -> list[dict[str, Any]]:
    """Return nested documents of about 100 kB as JSON each, all different."""
    source = random.Random(11)
    rows = [
        {
            "id": i,
            "name": f"item {i}",
            "price": round(source.random() * 100, 2),
            "tags": ["a", "bc", str(i)],
            "on": i % 2 == 0,
        }
        for i in range(1_400)
    ]
    return [{"version": i, "rows": rows[i % 50 : i % 50 + 1_250]} for i in range(count)]


@register("regex over log lines", "150 pieces of a log, some 4,000 lines each", "text")
def regex() -> Task:
    source = random.Random(2)
    lines = log_lines(source, 5_000)
    return functions.count_matches, ["\n".join(source.sample(lines, 4_000 + i % 5)) for i in range(150)]


@register("json.loads, 100 kB strings", "150 strings; the results are many small objects", "text")
def loads() -> Task:
    return json.loads, [json.dumps(document) for document in documents(150)]


@register("json.dumps, 100 kB strings", "120 nested objects: many small objects to hand over", "text")
def dumps() -> Task:
    return json.dumps, [json.loads(json.dumps(document)) for document in documents(120)]


@register(
    "lines to dicts", "200 pieces of 500 lines: results of many small objects, as dear to send as to make", "text"
)
def records() -> Task:
    return functions.records, [
        "\n".join(f"{k},name of {k},{k * 1.5:.2f},red|green|{i}" for k in range(500 + i % 7)) for i in range(200)
    ]


@register("sort lists of 20,000", "120 lists of numbers, a list as large for each", "text")
def sorting() -> Task:
    source = random.Random(4)
    return sorted, [[source.random() for _ in range(20_000)] for _ in range(120)]


@register(
    "parse 40 source files",
    "syntax trees of the standard library: sizes differ, and a file's size tells its cost",
    "text",
)
def parsing() -> Task:
    return functions.parse, longest_sources(40)

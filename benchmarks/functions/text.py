"""Work on text: source files, log lines, records."""

from __future__ import annotations


def tokenise(path: str) -> int:
    import tokenize

    with open(path, "rb") as file:
        return sum(1 for _ in tokenize.tokenize(file.readline))


def parse(path: str) -> int:
    """Return the number of nodes in the syntax tree of a source file."""
    import ast

    with open(path, "rb") as file:
        return sum(1 for _ in ast.walk(ast.parse(file.read())))


def count_matches(lines: str) -> int:
    """Count the slow answers of two services in a piece of a log."""
    import re

    pattern = r"^(\S+) (?:INFO|WARN) .*path=/items/(\d+)\?.*took=(\d{3,})ms"
    return sum(int(found[3]) for found in re.finditer(pattern, lines, re.MULTILINE))


def records(lines: str) -> dict[str, dict[str, object]]:
    """Parse lines of ``id,name,price,tags`` into nested dicts: many small objects, slow to send back."""
    found: dict[str, dict[str, object]] = {}
    for line in lines.splitlines():
        number, name, price, tags = line.split(",")
        found[number] = {"name": name.title(), "price": float(price), "tags": tags.split("|")}
    return found

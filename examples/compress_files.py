"""Which files of the standard library compress best? Compiled code, on files of very unequal size.

``zlib`` releases the GIL while it compresses, so threads can be as fast as processes. ``amorsize.execute`` finds the
best backend, and its plan gives the reason.
"""

from __future__ import annotations

import argparse
import sysconfig
import zlib
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import amorsize

NOT_OF_IT = {"site-packages", "__pycache__"}


class Sizes(NamedTuple):
    """Size of a file in bytes, before and after compression."""

    before: int
    after: int


def compressed(path: str) -> Sizes:
    """Compress one file, in memory."""
    content = Path(path).read_bytes()
    return Sizes(len(content), len(zlib.compress(content, level=9)))


def main() -> None:
    """Compress all files and print a summary."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N files")
    library = Path(sysconfig.get_path("stdlib"))
    inside = (path for path in library.rglob("*") if not NOT_OF_IT.intersection(path.parts) and path.suffix != ".a")
    files = sorted(str(path) for path in inside if path.is_file())[: parser.parse_args().limit]

    began = perf_counter()
    sizes, plan = amorsize.execute(compressed, files, return_plan=True)
    took_s = perf_counter() - began

    print(plan.explain(), end="\n\n")
    before, after = (sum(column) / 1e6 for column in zip(*sizes, strict=True))
    print(f"{len(files):,} files in {took_s:.2f} s: {before:.1f} MB become {after:.1f} ({after / before:.0%})")
    by_ratio = sorted((size.after / size.before, file) for size, file in zip(sizes, files, strict=True) if size.before)
    for ratio, file in by_ratio[:5]:
        print(f"{ratio:7.1%}  {Path(file).relative_to(library)}")


if __name__ == "__main__":  # processes that are started by spawn import this module too
    main()

"""Which files of the standard library compress best? Compiled code that releases the GIL, on files of very unequal size.

``amorsize.execute`` finds out for itself that ``zlib`` leaves the interpreter's lock alone while it works, so that
threads can serve, and prints what it decided.
"""

from __future__ import annotations

import argparse
import sysconfig
import zlib
from pathlib import Path
from typing import NamedTuple

import amorsize


class Sizes(NamedTuple):
    """Bytes of a file, and of the same file compressed."""

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
    inside = (path for path in library.rglob("*") if path.is_file() and "site-packages" not in path.parts)
    files = sorted(map(str, inside))[: parser.parse_args().limit]

    sizes, plan = amorsize.execute(compressed, files, return_plan=True)

    print(plan.explain(), end="\n\n")
    before, after = (sum(column) for column in zip(*sizes, strict=True))
    print(f"{len(files):,} files, {before / 1e6:.1f} MB, compressed {after / 1e6:.1f} MB ({after / before:.0%})")
    by_ratio = sorted((size.after / size.before, file) for size, file in zip(sizes, files, strict=True) if size.before)
    for ratio, file in by_ratio[:5]:
        print(f"{ratio:7.1%}  {Path(file).relative_to(library)}")


if __name__ == "__main__":  # processes that are started by spawn import this module too
    main()

"""Is the plan of amorsize right for hashing the files of the standard library, and do real trials find a better one?

``amorsize.validate`` runs the plan, ``execute``, a plain loop and the usual rivals by turns; ``amorsize.tune`` searches
by real trials. Takes some ten seconds.
"""

from __future__ import annotations

import argparse
import hashlib
import sysconfig
from pathlib import Path

import amorsize


def digest(path: str) -> str:
    """Return the hash of one file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def main() -> None:
    """Validate, tune, and print both."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N files")
    parser.add_argument("--seconds", type=float, default=5.0, help="about how long each of the two may take")
    arguments = parser.parse_args()
    files = sorted(str(path) for path in Path(sysconfig.get_path("stdlib")).rglob("*.py"))[: arguments.limit]

    validation = amorsize.validate(digest, files, max_seconds=arguments.seconds)
    print(validation, end="\n\n")
    plan = amorsize.tune(digest, files, max_seconds=arguments.seconds)
    print(plan.reason, end=".\n")
    print("All is well." if validation.ok else "Something is not as it should be: see the verdict above.")


if __name__ == "__main__":  # processes that are started by spawn import this module too
    main()

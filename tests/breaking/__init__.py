"""Drivers that try to break amorsize: seeded, at random, each against a plain ``list(map(func, data))``.

Each module runs by itself, from the root of the repository::

    python -m tests.breaking.faults --seed 1 --runs 100

A failure prints its seed and the line that repeats it. ``make test`` runs few of each, ``make test-long`` many.
"""

import sys
from pathlib import Path

HELPERS = str(Path(__file__).parents[1] / "helpers")
if HELPERS not in sys.path:
    sys.path.insert(0, HELPERS)

"""Classes that cloudpickle sends by value come back as they were."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys
import amorsize
from amorsize.measure.transfer import cannot

class Point:
    def __init__(self, x):
        self.x = x
    def scaled(self):
        return self.x * SCALE

class Odd(Exception):
    def scale(self):
        return SCALE

SCALE = 2
methods = dict(vars(Point)), dict(vars(Odd))

def made(x):
    if x == 3:
        raise Odd(x)
    return Point(x)

assert cannot(lambda: Point, "func", in_band=False) is None
how = {"backend": "processes", "start_method": sys.argv[1], "max_workers": 2}
for entry in (amorsize.execute, amorsize.stream):
    found = list(entry(made, range(8), on_error="collect", **how))
    SCALE = 10
    assert [type(one) for one in found[:3]] == [Point] * 3
    assert [one.scaled() for one in found[:3]] == [0, 10, 20], [one.scaled() for one in found[:3]]
    assert type(found[3].exception) is Odd and found[3].exception.scale() == 10
    assert (dict(vars(Point)), dict(vars(Odd))) == methods
    SCALE = 2
Point.scaled = lambda self: -self.x
found = amorsize.execute(Point.scaled, found[:3], **how)
assert found == [0, -1, -2], found
print("as they were")
"""

PROMPT = f"""
import sys
sys.ps1 = ">>> "
exec(compile({PROGRAM!r}, "<stdin>", "exec"), globals())
"""


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_classes_of_a_prompt_stay_what_they_are(method):
    """cloudpickle sets copies of the methods on the very class that it finds again; their globals are copies, too."""
    done = subprocess.run(
        [sys.executable, "-c", PROMPT, method],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("as they were\n", 0), done.stderr

"""Nothing is imported beside workers while an interrupt could be lost in a callback of importlib's own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from modes import ROOT

PROGRAM = """
import sys, time
import amorsize
import amorsize.system.critical as critical

def item(x):
    # Long enough for the checks that begin only then.
    time.sleep(0.4)

class Spy:
    def find_spec(self, name, path=None, target=None):
        if critical._outermost is None and "amorsize.backends.driver" in sys.modules:
            frame, places = sys._getframe(1), []
            while frame is not None:
                places.append(frame.f_code.co_filename.replace("\\\\", "/"))
                frame = frame.f_back
            if any(place.endswith("/backends/driver.py") for place in places):
                print(name)

if __name__ == "__main__":
    import signal
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.meta_path.insert(0, Spy())
    amorsize.execute(item, range(4), backend=sys.argv[1], start_method=sys.argv[2] or None, max_workers=2)
"""


@pytest.mark.parametrize("how", ["processes fork", "processes spawn", "threads "])
def test_none_is_looked_for_while_signals_are_not_held(how, tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "program.py"), *how.split(" ")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("", "")

"""``python -m amorsize``: see `amorsize.cli.main`."""

from __future__ import annotations

import sys

from amorsize.cli.main import main

if __name__ == "__main__":  # workers that are started by spawn import this module too
    sys.exit(main())

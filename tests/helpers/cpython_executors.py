"""CPython's own tests of executors, with `amorsize.Executor` in the place of ``ProcessPoolExecutor``.

    python tests/helpers/cpython_executors.py                     # executor, wait, as_completed
    python tests/helpers/cpython_executors.py test_shutdown …     # other modules (from 3.12 on), with strict=True,
                                                              # for information: they look into private attributes

Needs an interpreter that ships ``test.test_concurrent_futures``: a package from 3.12 on, one file before.
"""

import concurrent.futures
import sys
import unittest
from importlib import import_module

import amorsize

HOME = "test.test_concurrent_futures"
PARTS = {"executor": "ExecutorTest", "test_wait": "WaitTests", "test_as_completed": "AsCompletedTests"}
MIXINS = ("ProcessPoolForkMixin", "ProcessPoolForkserverMixin", "ProcessPoolSpawnMixin")


def module(name):
    home = import_module(HOME)
    return import_module(f"{HOME}.{name}") if hasattr(home, "__path__") else home


class Strict(amorsize.Executor):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, strict=True, **kwargs)


def asked_for(names):
    """Yield the test classes of whole modules that are for worker processes."""
    mixins = tuple(getattr(module("util"), mixin) for mixin in MIXINS)
    for name in names:
        yield from (c for c in vars(module(name)).values() if isinstance(c, type) and issubclass(c, mixins))


def usual():
    """Yield each part of the contract with each start method."""
    util = module("util")
    for name, part in PARTS.items():
        for mixin in MIXINS:
            bases = (getattr(module(name), part), getattr(util, mixin), util.BaseTestCase)
            yield type(mixin.replace("Mixin", part), bases, {"__module__": __name__})


if __name__ == "__main__":
    names = sys.argv[1:]
    concurrent.futures.ProcessPoolExecutor = Strict if names else amorsize.Executor  # before the tests look for it
    load = unittest.defaultTestLoader.loadTestsFromTestCase
    suite = unittest.TestSuite(map(load, asked_for(names) if names else usual()))
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    sys.exit(not result.wasSuccessful() or not result.testsRun)

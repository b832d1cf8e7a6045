"""CPython's own tests of ``multiprocessing.Pool``, with `amorsize.Pool` in its place.

    python tests/helpers/cpython_pools.py [fork | forkserver | spawn …]

Needs an interpreter that ships ``test._test_multiprocessing``. The tests in `ELSEWISE` are left out, for the reasons
given there.
"""

import multiprocessing
import multiprocessing.pool
import sys
import unittest
from functools import partial
from importlib import import_module

import amorsize

CLASSES = ("_TestPool", "_TestPoolWorkerErrors", "_TestPoolWorkerLifetime")
ELSEWISE = {
    "test_pool_worker_lifetime": "calls the private _repopulate_pool() and looks into the private list of processes",
    "test_unpickleable_result": "its result, a lambda, is pickled by value here",
}


def suites(methods):
    """Yield the tests of each class, once for each start method."""
    home = import_module("test._test_multiprocessing")
    for method in methods:
        context = multiprocessing.get_context(method)
        for name in CLASSES:
            names = {"__module__": __name__, "Pool": staticmethod(partial(amorsize.Pool, context=context))}
            bases = (getattr(home, name), home.ProcessesMixin, unittest.TestCase)
            case = type(method.title() + name, bases, names)
            # The tests send methods of their class, which pickle finds by its name.
            globals()[case.__name__] = case
            tests = unittest.defaultTestLoader.loadTestsFromTestCase(case)
            yield unittest.TestSuite(test for test in tests if test._testMethodName not in ELSEWISE)


METHODS = ("fork", "forkserver", "spawn")
SUITES = {method: unittest.TestSuite(suites([method])) for method in METHODS}

if __name__ == "__main__":
    methods = sys.argv[1:] or METHODS
    multiprocessing.Pool = amorsize.Pool  # the tests of lifetimes look for it
    result = unittest.TextTestRunner(verbosity=2).run(unittest.TestSuite(SUITES[method] for method in methods))
    sys.exit(not result.wasSuccessful() or not result.testsRun)

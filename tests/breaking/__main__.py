"""The process in which the trials of one driver run. Its workers import no main module: that took most of the time."""

import multiprocessing
import sys
from importlib import import_module

from . import harness

if __name__ == "__main__":
    multiprocessing.set_forkserver_preload(["tests.breaking.functions", "numpy"])
    module, seed, runs = sys.argv[1:]
    harness.serve(import_module(module).trial, int(seed), int(runs))

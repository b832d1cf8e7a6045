"""The functions of the workloads. At module level, so that they can be pickled under every start method.

These modules import next to nothing at the top: a rival's fresh worker has to import them to unpickle the function,
and must not pay for numpy in a workload that never touches an array.
"""

from benchmarks.functions.arrays import ARRAY_LENGTH, make_array, matmul, roots, sines, tiny_calls, tiny_solves, total
from benchmarks.functions.blocks import (
    compress,
    count_words,
    digest,
    digest_file,
    digest_text,
    pack,
    short_digests,
    touch,
)
from benchmarks.functions.cpu import burn, burn_silently, look_up, smallest_factor, square, table
from benchmarks.functions.text import count_matches, parse, records, tokenise
from benchmarks.functions.waiting import ask, wait, wait_and_burn

__all__ = [
    "ARRAY_LENGTH",
    "ask",
    "burn",
    "burn_silently",
    "compress",
    "count_matches",
    "count_words",
    "digest",
    "digest_file",
    "digest_text",
    "look_up",
    "make_array",
    "matmul",
    "pack",
    "parse",
    "records",
    "roots",
    "short_digests",
    "sines",
    "smallest_factor",
    "square",
    "table",
    "tiny_calls",
    "tiny_solves",
    "tokenise",
    "total",
    "touch",
    "wait",
    "wait_and_burn",
]

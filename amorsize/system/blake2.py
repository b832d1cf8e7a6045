"""The hash function blake2b without ``hashlib``, which loads OpenSSL: 2 ms."""

from __future__ import annotations

try:
    from _blake2 import blake2b
except ImportError:
    # Another implementation of Python.
    from hashlib import blake2b

__all__ = ["blake2b"]

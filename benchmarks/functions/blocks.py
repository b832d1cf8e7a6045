"""Work on blocks of bytes: compressing, hashing, counting, and touching memory."""

from __future__ import annotations

SHORT_DIGESTS = 2_000
TOUCHED_BYTES = 80_000_000
PAGE_BYTES = 4096


def compress(block: bytes) -> bytes:
    import zlib

    return zlib.compress(block, 3)


def pack(block: bytes) -> bytes:
    import lzma

    return lzma.compress(block, preset=1)


def digest(block: bytes) -> str:
    """Hash one block. Beyond 2 kB hashlib releases the GIL."""
    import hashlib

    return hashlib.sha3_256(block).hexdigest()


def short_digests(value: int) -> str:
    """Compute a chain of hashes of 32 bytes each, all under the GIL."""
    from hashlib import sha256

    found = str(value).encode()
    for _ in range(SHORT_DIGESTS):
        found = sha256(found).digest()
    return found.hex()


def digest_text(text: str) -> str:
    """Hash one text of some kilobytes: 7 µs or so, of which most is the hash."""
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()


def digest_file(path: str) -> str:
    """Read and hash a file, like a search for changed files."""
    import hashlib

    with open(path, "rb") as file:
        return hashlib.sha3_512(file.read()).hexdigest()


def count_words(block: bytes) -> int:
    """Count words: a large argument, a small result."""
    return len(set(block.split()))


def touch(value: int) -> int:
    """Take 80 MB, use every page of it, and give it back."""
    memory = bytearray(TOUCHED_BYTES)
    pages = len(memory[::PAGE_BYTES])
    memory[::PAGE_BYTES] = bytes([value % 251]) * pages
    return memory[-1 - (TOUCHED_BYTES - 1) % PAGE_BYTES] + pages

"""Fetch pages from a web server that is slow and sometimes fails: waiting overlaps, and no result is lost.

The server is started by this script on the loopback interface. It serves the standard library, answers after 20 ms,
is "busy" at the first request for every 20th page, and lacks every 25th. ``retries`` repeats the former, and
``on_error="collect"`` puts a `Failure` in the place of each missing page. The function only waits, so ``backend``
leaves processes out.
"""

from __future__ import annotations

import argparse
import sysconfig
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

import amorsize

LATENCY_S = 0.02
BUSY_EVERY, LOST_EVERY = 20, 25
OPENER = build_opener(ProxyHandler({}))  # no proxy: this server is local


class Library(BaseHTTPRequestHandler):
    """Serves page N: the N-th file of the standard library."""

    protocol_version = "HTTP/1.0"
    pages: tuple[Path, ...] = ()
    asked: set[int] = set()  # noqa: RUF012  (shared on purpose: a handler lives for one request)

    def do_GET(self) -> None:
        """Answer one request."""
        time.sleep(LATENCY_S)
        page = int(self.path.removeprefix("/"))
        first = page not in self.asked
        self.asked.add(page)
        if first and page % BUSY_EVERY == BUSY_EVERY - 1:
            self.send_error(503)
        elif page % LOST_EVERY == LOST_EVERY - 1:
            self.send_error(404)
        else:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.pages[page].read_bytes())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the name is the base class's)
        """Write no log."""


class Server(ThreadingHTTPServer):
    """Lets many connections wait in its queue."""

    request_queue_size = 128


@contextmanager
def served(pages: tuple[Path, ...]) -> Iterator[str]:
    """Serve these pages; yield the address of the server."""
    Library.pages = pages
    with Server(("127.0.0.1", 0), Library) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def length_of(address: str, page: int) -> int:
    """Fetch one page."""
    try:
        with OPENER.open(f"{address}/{page}") as response:
            return len(response.read())
    except HTTPError as error:
        error.close()  # an error holds its connection, and a Failure its error
        raise


def main() -> None:
    """Fetch all pages and print a summary."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--limit", type=int, default=200, metavar="N", help="how many pages (200)")
    limit = parser.parse_args().limit
    pages = tuple(sorted(Path(sysconfig.get_path("stdlib")).glob("**/*.py"))[:limit])

    with served(pages) as address:
        began = time.perf_counter()
        fetch = partial(length_of, address)
        lengths, plan = amorsize.execute(
            fetch,
            range(len(pages)),
            backend=("serial", "threads"),
            retries=1,
            on_error="collect",
            return_plan=True,
        )
        took_s = time.perf_counter() - began

    print(plan.explain(), end="\n\n")
    failures = [length for length in lengths if isinstance(length, amorsize.Failure)]
    fetched = [length for length in lengths if isinstance(length, int)]
    print(f"{len(fetched)} of {len(pages)} pages, {sum(fetched):,} bytes, in {took_s:.2f} s")
    for failure in failures[:5]:
        print(f"page {failure.index}: {failure.exception}")


if __name__ == "__main__":  # processes that are started by spawn import this module too
    main()

"""Which calls and types of the standard library and of common packages are safe in several threads at once.

One row each, with its source. What a package says in its documentation is cited by its page; "GIL" stands for functions
in C without state of their own: each call is one step under the interpreter's lock, or works on its arguments alone.
"The arguments of a call are its own" is what the look finds out by itself.

A name of a module covers all its functions and classes, its submodules too, unless a longer name says otherwise.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# What a call gives back, and does.
NEW: Final = "new"  # something made within the call
PARTS: Final = "parts"  # a new container or iterator of what its arguments hold
PART: Final = "part"  # one of its arguments, or of what they hold
SAME: Final = "same"  # perhaps the argument itself, or a view of it
KEEPS: Final = "keeps"  # something new that keeps its arguments
FIRST: Final = "first"  # it writes its first argument
PLACE: Final = "place"  # it moves the place in the file that its first argument stands for
CALLS: Final = "calls"  # it makes something new, and calls the functions among its arguments
UNSAFE: Final = "unsafe"  # it changes what all threads share

_PYTHON = "docs.python.org/3/library/"

# fmt: off
ROWS: Final = (
    # module, names (None: all), what a call does, source
    ("builtins", "abs ascii bin bool bytes bytearray callable chr complex divmod float format hash hex id int isinstance "
     "issubclass len object oct ord pow print range repr round slice str sum type dir hasattr input breakpoint "
     "print", NEW, "GIL; print writes whole lines of sys.stdout under its lock"),
    ("builtins", "dict enumerate filter frozenset iter list map reversed set sorted tuple zip dict.fromkeys",
     PARTS, "GIL"),
    ("builtins", "max min next getattr anext", PART, "GIL"),
    ("builtins", "memoryview", SAME, "GIL"),
    ("builtins", "setattr delattr", FIRST, "it writes an attribute"),
    ("builtins", "all any", CALLS, "GIL"),
    ("_io", "open open_code text_encoding BytesIO StringIO BufferedReader TextIOWrapper", NEW, "io.html#multi-threading"),
    ("io", None, NEW, "io.html#multi-threading: files of the call's own"),
    ("time", None, NEW, "GIL, released by sleep"),
    ("time", "tzset", UNSAFE, "the time zone belongs to the process"),
    ("math", None, NEW, "GIL"), ("cmath", None, NEW, "GIL"), ("statistics", None, NEW, "pure functions"),
    ("_statistics", None, NEW, "GIL"), ("numbers", None, NEW, "abstract classes"),
    ("fractions", None, NEW, "immutable"), ("decimal", None, NEW, _PYTHON + "decimal.html#working-with-threads"),
    ("_decimal", None, NEW, _PYTHON + "decimal.html#working-with-threads"),
    ("_pydecimal", None, NEW, _PYTHON + "decimal.html#working-with-threads"),
    ("decimal", "setcontext", UNSAFE, "the context is shared with the caller"),
    ("zlib", None, NEW, "GIL, released"), ("gzip", None, NEW, "objects of the call's own"),
    ("bz2", None, NEW, "GIL, released"), ("_bz2", None, NEW, "GIL, released"), ("lzma", None, NEW, "GIL, released"),
    ("_lzma", None, NEW, "GIL, released"), ("_compression", None, NEW, "objects of the call's own"),
    ("hashlib", None, NEW, _PYTHON + "hashlib.html: the GIL is released beyond 2047 bytes"),
    ("_hashlib", None, NEW, "as hashlib"), ("_sha1", None, NEW, "as hashlib"), ("_sha2", None, NEW, "as hashlib"),
    ("_sha256", None, NEW, "as hashlib"), ("_sha512", None, NEW, "as hashlib"), ("_sha3", None, NEW, "as hashlib"),
    ("_md5", None, NEW, "as hashlib"), ("_blake2", None, NEW, "as hashlib"), ("hmac", None, NEW, "as hashlib"),
    ("base64", None, NEW, "pure functions"), ("binascii", None, NEW, "GIL"), ("struct", None, NEW, "GIL"),
    ("_struct", None, NEW, "GIL"), ("_struct", "pack_into", "second", "it writes its buffer"),
    ("json", None, CALLS, "objects of the call's own"), ("_json", None, CALLS, "objects of the call's own"),
    ("pickle", None, CALLS, "objects of the call's own"), ("_pickle", None, CALLS, "objects of the call's own"),
    ("marshal", None, NEW, "GIL"), ("copy", "copy", "copy", "the parts are shared"),
    ("copy", "deepcopy", NEW, "the copy is the call's own"),
    ("re", None, CALLS, "the cache of patterns is a dict, each step under the GIL"),
    ("_sre", None, CALLS, "GIL"),
    ("string", None, NEW, "pure functions"), ("textwrap", None, NEW, "pure functions"),
    ("unicodedata", None, NEW, "GIL"), ("difflib", None, NEW, "objects of the call's own"),
    ("pprint", "pformat saferepr", NEW, "objects of the call's own"), ("reprlib", None, NEW, "pure functions"),
    ("datetime", None, NEW, "immutable"), ("_datetime", None, NEW, "immutable"), ("_strptime", None, NEW, "it locks"),
    ("calendar", None, NEW, "pure functions"), ("calendar", "setfirstweekday", UNSAFE, "it sets the first day of all"),
    ("zoneinfo", None, NEW, "immutable"),
    ("collections", None, PARTS, "objects of the call's own"), ("_collections", None, PARTS, "as collections"),
    ("_collections", "_count_elements", "counts", "it writes the counter"),
    ("array", None, PARTS, "objects of the call's own"), ("types", None, KEEPS, "objects of the call's own"),
    ("itertools", None, PARTS, "objects of the call's own"),
    ("functools", "reduce", PART, "pure function"), ("_functools", "reduce", PART, "pure function"),
    ("functools", "cmp_to_key", KEEPS, "objects of the call's own"),
    ("_functools", "cmp_to_key", KEEPS, "objects of the call's own"),
    ("operator", None, PART, "pure functions"), ("_operator", None, PART, "pure functions"),
    *((module, "setitem delitem iadd iand iconcat ifloordiv ilshift imatmul imod imul ior ipow irshift isub itruediv "
       "ixor", FIRST, "it writes its first argument") for module in ("operator", "_operator")),
    ("heapq", "heappush heappop heapify heapreplace heappushpop", FIRST, "it writes the heap"),
    ("_heapq", "heappush heappop heapify heapreplace heappushpop", FIRST, "it writes the heap"),
    ("heapq", "merge nlargest nsmallest", PARTS, "pure functions"),
    ("bisect", None, NEW, "GIL"), ("_bisect", None, NEW, "GIL"),
    ("bisect", "insort insort_left insort_right", FIRST, "it writes the list"),
    ("_bisect", "insort insort_left insort_right", FIRST, "it writes the list"),
    ("random", "random uniform triangular randint randrange choice choices sample getrandbits randbytes betavariate "
     "expovariate gammavariate lognormvariate paretovariate vonmisesvariate weibullvariate normalvariate binomialvariate",
     NEW, _PYTHON + "random.html: only gauss tells two threads the same"),
    ("random", "seed setstate gauss", UNSAFE, "all threads draw from one generator"),
    ("random", "shuffle", FIRST, "it writes its argument"),
    ("random", "Random SystemRandom", NEW, "objects of the call's own"),
    ("secrets", None, NEW, "the system's generator"), ("uuid", None, NEW, "the system's generator, or a lock"),
    ("posix", None, NEW, "system calls"), ("nt", None, NEW, "system calls"), ("os", None, NEW, "system calls"),
    *((module, "chdir fchdir chroot putenv unsetenv umask setuid setgid seteuid setegid setgroups setsid setpgid nice "
       "setpriority sched_setaffinity sched_setscheduler fork forkpty environ dup2 closerange _exit abort execv execve",
       UNSAFE, "it changes the whole process") for module in ("posix", "nt", "os")),
    *((module, "lseek read readv write writev sendfile splice ftruncate", PLACE, "the file's position is shared")
      for module in ("posix", "nt", "os")),
    ("posixpath", None, NEW, "pure functions and system calls"), ("ntpath", None, NEW, "pure functions and system calls"),
    ("genericpath", None, NEW, "system calls"), ("pathlib", None, NEW, "system calls"), ("stat", None, NEW, "GIL"),
    ("_stat", None, NEW, "GIL"), ("shutil", None, CALLS, "system calls"), ("glob", None, NEW, "system calls"),
    ("fnmatch", None, NEW, "as re"), ("tempfile", None, NEW, "it locks"), ("filecmp", "cmp", NEW, "a dict under the GIL"),
    ("linecache", None, NEW, "a dict under the GIL"), ("fileinput", None, UNSAFE, "all threads share its file"),
    ("mmap", None, NEW, "objects of the call's own"), ("csv", None, CALLS, "objects of the call's own"),
    ("_csv", None, CALLS, "objects of the call's own"),
    ("csv", "register_dialect unregister_dialect field_size_limit", UNSAFE, "it sets what all readers go by"),
    ("_csv", "register_dialect unregister_dialect field_size_limit", UNSAFE, "it sets what all readers go by"),
    ("configparser", None, NEW, "objects of the call's own"), ("tomllib", None, CALLS, "objects of the call's own"),
    ("plistlib", None, NEW, "objects of the call's own"), ("html", None, NEW, "objects of the call's own"),
    ("xml", None, NEW, "objects of the call's own"), ("_elementtree", None, NEW, "objects of the call's own"),
    ("xml.etree.ElementTree", "register_namespace", UNSAFE, "it sets what all trees go by"),
    ("pyexpat", None, NEW, "objects of the call's own"), ("email", None, NEW, "objects of the call's own"),
    ("mimetypes", "guess_type guess_extension", NEW, "a table that is read"), ("quopri", None, NEW, "pure functions"),
    ("zipfile", None, NEW, "objects of the call's own"), ("tarfile", None, NEW, "objects of the call's own"),
    ("sqlite3", None, NEW, _PYTHON + "sqlite3.html: a connection of the call's own"),
    ("_sqlite3", None, NEW, "a connection of the call's own"), ("dbm", None, NEW, "objects of the call's own"),
    ("urllib", None, NEW, "connections of the call's own"),
    ("urllib.request", "install_opener urlcleanup", UNSAFE, "it sets what all requests go by"),
    ("http", None, NEW, "connections of the call's own"), ("ftplib", None, NEW, "connections of the call's own"),
    ("smtplib", None, NEW, "connections of the call's own"), ("imaplib", None, NEW, "connections of the call's own"),
    ("poplib", None, NEW, "connections of the call's own"), ("xmlrpc", None, NEW, "connections of the call's own"),
    ("socket", None, NEW, "sockets of the call's own"), ("_socket", None, NEW, "sockets of the call's own"),
    ("socket", "setdefaulttimeout", UNSAFE, "it sets what all sockets go by"),
    ("_socket", "setdefaulttimeout", UNSAFE, "it sets what all sockets go by"),
    ("ssl", None, NEW, "sockets of the call's own"), ("_ssl", None, NEW, "sockets of the call's own"),
    ("select", None, NEW, "system calls"), ("selectors", None, NEW, "objects of the call's own"),
    ("subprocess", None, NEW, _PYTHON + "subprocess.html: each call has a process of its own"),
    ("shlex", None, NEW, "objects of the call's own"), ("platform", None, NEW, "a dict under the GIL"),
    ("ast", None, NEW, "objects of the call's own"), ("_ast", None, NEW, "objects of the call's own"),
    ("tokenize", None, CALLS, "objects of the call's own"), ("_tokenize", None, CALLS, "objects of the call's own"),
    ("token", None, NEW, "pure functions"), ("keyword", None, NEW, "a table that is read"),
    ("ipaddress", None, NEW, "immutable"), ("colorsys", None, NEW, "pure functions"), ("enum", None, NEW, "immutable"),
    ("dataclasses", "replace asdict astuple field fields is_dataclass", PARTS, "objects of the call's own"),
    ("contextlib", "closing suppress nullcontext ExitStack", KEEPS, "objects of the call's own"),
    ("contextlib", "redirect_stdout redirect_stderr chdir", UNSAFE, "it changes the whole process"),
    ("threading", None, CALLS, _PYTHON + "threading.html"), ("_thread", None, CALLS, _PYTHON + "threading.html"),
    ("threading", "settrace setprofile stack_size excepthook", UNSAFE, "it changes the whole process"),
    ("queue", None, NEW, _PYTHON + "queue.html"), ("_queue", None, NEW, _PYTHON + "queue.html"),
    ("concurrent.futures", None, CALLS, "objects of the call's own"), ("contextvars", None, NEW, "each thread has its own"),
    ("_contextvars", None, NEW, "each thread has its own"), ("logging", None, NEW, _PYTHON + "logging.html#thread-safety"),
    ("logging", "basicConfig disable setLoggerClass addLevelName captureWarnings shutdown", UNSAFE,
     "it changes the whole process"),
    ("warnings", "warn warn_explicit", NEW, "GIL"), ("_warnings", "warn warn_explicit", NEW, "GIL"),
    ("warnings", None, UNSAFE, _PYTHON + "warnings.html: the filters belong to the process"),
    ("locale", None, NEW, "it reads"), ("_locale", None, NEW, "it reads"),
    ("locale", "setlocale", UNSAFE, _PYTHON + "locale.html: it is not thread-safe"),
    ("_locale", "setlocale", UNSAFE, _PYTHON + "locale.html: it is not thread-safe"),
    ("signal", None, UNSAFE, "signals belong to the process, and to its main thread"),
    ("_signal", None, UNSAFE, "signals belong to the process, and to its main thread"),
    ("sys", "getsizeof getrefcount intern exc_info exception getrecursionlimit getdefaultencoding exit is_finalizing "
     "getfilesystemencoding _getframe", NEW, "GIL"),
    ("sys", None, UNSAFE, "it changes the whole process"), ("gc", None, UNSAFE, "it changes the whole process"),
    ("resource", "getrusage getrlimit getpagesize", NEW, "system calls"),
    ("resource", None, UNSAFE, "it changes the whole process"), ("traceback", None, NEW, "objects of the call's own"),
    ("errno", None, NEW, "constants"), ("typing", None, NEW, "it does nothing at run time"), ("abc", None, NEW, "GIL"),
    ("_abc", None, NEW, "GIL"), ("weakref", "ref", KEEPS, "GIL"), ("atexit", None, UNSAFE, "it changes the whole process"),
    ("importlib", "import_module", NEW, "imports lock"),
    ("codecs", None, NEW, "objects of the call's own"), ("_codecs", None, NEW, "GIL"), ("encodings", None, NEW, "GIL"),
    # Other packages.
    ("numpy", None, NEW, "numpy.org/doc/stable/reference/thread_safety.html"),
    ("numpy", "asarray asanyarray ascontiguousarray asfortranarray ravel reshape squeeze expand_dims transpose swapaxes "
     "moveaxis rollaxis atleast_1d atleast_2d atleast_3d broadcast_to broadcast_arrays diagonal real imag split "
     "array_split hsplit vsplit dsplit flip fliplr flipud rot90 require frombuffer permute_dims matrix_transpose "
     "sliding_window_view as_strided", SAME, "a view"),
    ("numpy", "copyto put place putmask fill_diagonal put_along_axis", FIRST, "it writes its first argument"),
    ("numpy", "seterr seterrcall setbufsize set_printoptions printoptions set_string_function", UNSAFE,
     "it sets what all threads go by"),
    ("numpy.lib", "sliding_window_view as_strided", SAME, "a view"),
    ("numpy.random", "seed set_state", UNSAFE, "all threads draw from one generator"),
    ("numpy.random", "shuffle", FIRST, "it writes its argument"),
    ("scipy.linalg", None, CALLS, "docs.scipy.org/doc/scipy/tutorial/thread_safety.html"),
    ("scipy.fft", None, NEW, "docs.scipy.org/doc/scipy/tutorial/thread_safety.html"),
    ("scipy.signal", None, CALLS, "docs.scipy.org/doc/scipy/tutorial/thread_safety.html"),
    ("scipy.ndimage", None, CALLS, "docs.scipy.org/doc/scipy/tutorial/thread_safety.html"),
    ("requests.api", None, NEW, "requests.readthedocs.io/en/latest/api/: each call has a session of its own"),
    ("requests.sessions", "Session session", NEW, "a session of the call's own"),
    ("httpx", None, NEW, "www.python-httpx.org/advanced/clients/: each call has a client of its own"),
    ("urllib3", None, NEW, "urllib3.readthedocs.io/en/stable/advanced-usage.html: pools are thread-safe"),
    ("PIL", None, NEW, "pillow.readthedocs.io/en/stable/releasenotes: images of the call's own"),
    ("pandas", "read_csv read_table read_fwf read_json read_parquet read_feather read_orc read_excel read_xml read_html "
     "read_pickle read_stata read_sas read_spss read_hdf", NEW, "frames of the call's own"),
    ("pandas.io", None, NEW, "frames of the call's own"), ("pandas.core.frame", "DataFrame", NEW, "its own frame"),
    ("pandas.core.series", "Series", NEW, "its own series"),
    ("pyarrow", None, NEW, "arrow.apache.org/docs/python: tables are immutable"),
    ("polars", None, NEW, "docs.pola.rs: frames of the call's own"),
    ("lxml", None, NEW, "lxml.de/FAQ.html#can-i-use-threads-to-concurrently-access-the-lxml-api"),
    ("orjson", None, CALLS, "github.com/ijl/orjson: no state"), ("ujson", None, NEW, "no state"),
    ("yaml", "safe_load safe_dump load dump", NEW, "a loader of the call's own"), ("simplejson", None, CALLS, "as json"),
    ("boto3", "client resource", UNSAFE, "boto3.amazonaws.com/.../clients.html: the default session is not thread-safe"),
    ("zstandard", "compress decompress ZstdCompressor ZstdDecompressor", NEW, "objects of the call's own"),
    ("lz4", None, NEW, "objects of the call's own"), ("brotli", None, NEW, "no state"), ("cv2", None, NEW, "no state"),
    ("xxhash", None, NEW, "objects of the call's own"), ("blake3", None, NEW, "objects of the call's own"),
)

ATOMIC: Final = "atomic"  # never changes, or changes only what counts for nothing
SHARED: Final = "shared"  # made for several threads
HOLDS: Final = "holds"  # a container of Python's
ARRAY: Final = "array"  # a block of memory
BAD: Final = "bad"  # not safe in two threads at once

TYPES: Final = (
    ("builtins", "int float complex bool str bytes NoneType range ellipsis NotImplementedType slice code "
     "builtin_function_or_method method_descriptor wrapper_descriptor method-wrapper classmethod_descriptor "
     "getset_descriptor member_descriptor", ATOMIC, "immutable"),
    ("types", "GenericAlias UnionType", ATOMIC, "immutable"), ("typing", "TypeVar", ATOMIC, "immutable"),
    ("datetime", "date datetime time timedelta timezone tzinfo", ATOMIC, "immutable"),
    ("zoneinfo", "ZoneInfo", ATOMIC, "immutable"), ("decimal", "Decimal", ATOMIC, "immutable"),
    ("fractions", "Fraction", ATOMIC, "immutable"), ("uuid", "UUID", ATOMIC, "immutable"),
    ("enum", "Enum", ATOMIC, "members are constants"), ("re", "Pattern Match", ATOMIC, "immutable"),
    ("_struct", "Struct", ATOMIC, "immutable"), ("string", "Template", ATOMIC, "immutable"),
    ("pathlib", "PurePath", ATOMIC, "immutable, but for caches of its parts"),
    ("pathlib._local", "PurePath", ATOMIC, "immutable, but for caches of its parts"),
    ("ipaddress", "_IPAddressBase", ATOMIC, "immutable"), ("operator", "itemgetter attrgetter methodcaller", ATOMIC, "immutable"),
    ("numpy", "generic dtype ufunc", ATOMIC, "immutable"), ("_contextvars", "ContextVar", SHARED, "each thread has its own"),
    ("builtins", "ContextVar", SHARED, "each thread has its own"), ("_contextvars", "Token", ATOMIC, "immutable"),
    ("_thread", "_local", SHARED, "each thread has its own"),
    ("dataclasses", "_HAS_DEFAULT_FACTORY_CLASS", ATOMIC, "a mark"),
    ("_thread", "lock RLock LockType", SHARED, _PYTHON + "threading.html"),
    ("threading", "Condition Semaphore Event Barrier _RLock", SHARED, _PYTHON + "threading.html"),
    ("queue", "Queue", SHARED, _PYTHON + "queue.html"), ("_queue", "SimpleQueue", SHARED, _PYTHON + "queue.html"),
    ("logging", "Logger LoggerAdapter", SHARED, _PYTHON + "logging.html#thread-safety"),
    ("multiprocessing.synchronize", "SemLock", SHARED, "as threading's"),
    ("urllib3.poolmanager", "PoolManager", SHARED, "urllib3.readthedocs.io/en/stable/advanced-usage.html"),
    ("urllib3._request_methods", "RequestMethods", SHARED, "as its PoolManager"),
    ("httpx", "Client", SHARED, "www.python-httpx.org/advanced/clients/"),
    ("httpx._client", "Client", SHARED, "www.python-httpx.org/advanced/clients/"),
    ("botocore.client", "BaseClient", SHARED, "docs.aws.amazon.com/boto3: clients are thread-safe"),
    ("concurrent.futures._base", "Executor Future", SHARED, "concurrent.futures.html"),
    ("builtins", "list dict set frozenset tuple mappingproxy dict_keys dict_values dict_items", HOLDS, "GIL"),
    ("collections", "deque OrderedDict defaultdict Counter", HOLDS, "GIL"),
    ("builtins", "bytearray memoryview", ARRAY, "GIL"), ("array", "array", ARRAY, "GIL"), ("numpy", "ndarray", ARRAY, "GIL"),
    ("_io", "_IOBase", BAD, "io.html#multi-threading: the position in a file is shared"),
    ("sqlite3", "Connection Cursor Blob", BAD, _PYTHON + "sqlite3.html#sqlite3.threadsafety"),
    ("http.client", "HTTPConnection HTTPResponse", BAD, "one request at a time"),
    ("_socket", "socket", BAD, "what two threads send and receive gets mixed"), ("_random", "Random", BAD, "one state"),
    ("numpy.random", "Generator RandomState BitGenerator", BAD, "numpy.org/doc/stable/reference/random/multithreading.html"),
    ("numpy.random._generator", "Generator", BAD, "numpy.org/doc/stable/reference/random/multithreading.html"),
    ("numpy.random.mtrand", "RandomState", BAD, "numpy.org/doc/stable/reference/random/multithreading.html"),
    ("numpy.random.bit_generator", "BitGenerator", BAD, "numpy.org/doc/stable/reference/random/multithreading.html"),
    ("requests.sessions", "Session", BAD, "requests: no promise; its cookies are shared"),
    ("boto3.session", "Session", BAD, "docs.aws.amazon.com/boto3: sessions are not thread-safe"),
    ("boto3.resources.base", "ServiceResource", BAD, "docs.aws.amazon.com/boto3: resources are not thread-safe"),
    ("smtplib", "SMTP", BAD, "one conversation"), ("ftplib", "FTP", BAD, "one conversation"),
    ("imaplib", "IMAP4", BAD, "one conversation"), ("zipfile", "ZipFile", BAD, "one position in the file"),
    ("tarfile", "TarFile", BAD, "one position in the file"), ("mmap", "mmap", BAD, "one position"),
    ("decimal", "Context", BAD, "shared with the caller"), ("builtins", "generator coroutine async_generator", BAD,
     "a generator that runs cannot be asked by another thread"),
    ("_csv", "reader writer", BAD, "an iterator of one file"), ("os", "_Environ", HOLDS, "it belongs to the process"),
)
# fmt: on


def _table(rows: tuple[tuple[str, str | None, str, str], ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for module, names, what, _ in rows:
        if names is None:
            found[module] = what
        else:
            found.update((f"{module}.{name}", what) for name in names.split())
    return found


_calls: Final = _table(ROWS)
KINDS: Final = _table(TYPES)


def what_of(module: str, name: str) -> str | None:
    """Return what a call of ``module.name`` does; None if the tables say nothing."""
    exact = _calls.get(f"{module}.{name}")
    if exact is not None:
        return exact
    while module:
        found = _calls.get(module)
        if found is not None:
            # A function of a submodule may be known by the package that shows it.
            shown = _calls.get(f"{module}.{name}")
            return found if shown is None else shown
        module = module.rpartition(".")[0]
    return None

"""Which calls and types of the standard library and of common packages are safe in several threads at once.

One row each, with its source. Pages without a site are of docs.python.org/3/library; "GIL" stands for functions in C
without state of their own: each call is one step under the interpreter's lock, or works on its arguments alone.
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
GIVES: Final = "gives"  # what other calls, too, are given
UNSAFE: Final = "unsafe"  # it changes what all threads share

ATOMIC: Final = "atomic"  # never changes, or changes only what counts for nothing
SHARED: Final = "shared"  # made for several threads
HOLDS: Final = "holds"  # a container of Python's
ARRAY: Final = "array"  # a block of memory
BAD: Final = "bad"  # not safe in two threads at once

# module | names (*: all) | what a call does | source
CALLS_TABLE: Final = """
builtins | abs ascii bin bool bytes bytearray | new | GIL; print writes whole lines of sys.stdout under its lock
builtins | callable chr complex divmod float format | new | GIL; print writes whole lines of sys.stdout under its lock
builtins | hash hex id int isinstance issubclass | new | GIL; print writes whole lines of sys.stdout under its lock
builtins | len object oct ord pow print range repr | new | GIL; print writes whole lines of sys.stdout under its lock
builtins | round slice str sum type dir hasattr | new | GIL; print writes whole lines of sys.stdout under its lock
builtins | input breakpoint print | new | GIL; print writes whole lines of sys.stdout under its lock
builtins | dict enumerate filter frozenset iter list map reversed set sorted tuple zip dict.fromkeys | parts | GIL
builtins | max min next getattr anext | part | GIL
builtins | str.maketrans bytes.maketrans bytearray.maketrans | new | GIL
builtins | memoryview | same | GIL
builtins | setattr delattr | first | it writes an attribute
builtins | all any | calls | GIL
_io | open open_code text_encoding BytesIO StringIO BufferedReader TextIOWrapper | new | io.html#multi-threading
io | * | new | io.html#multi-threading: files of the call's own
time | * | new | GIL, released by sleep
time | tzset | unsafe | the time zone belongs to the process
math | * | new | GIL
cmath | * | new | GIL
statistics | * | new | pure functions
_statistics | * | new | GIL
numbers | * | new | abstract classes
fractions | * | new | immutable
decimal | * | new | decimal.html#working-with-threads
_decimal | * | new | decimal.html#working-with-threads
_pydecimal | * | new | decimal.html#working-with-threads
decimal | setcontext | unsafe | the context is shared with the caller
zlib | * | new | GIL, released
gzip | * | new | objects of the call's own
bz2 | * | new | GIL, released
_bz2 | * | new | GIL, released
lzma | * | new | GIL, released
_lzma | * | new | GIL, released
_compression | * | new | objects of the call's own
hashlib | * | new | hashlib.html: the GIL is released beyond 2047 bytes
_hashlib | * | new | as hashlib
_sha1 | * | new | as hashlib
_sha2 | * | new | as hashlib
_sha256 | * | new | as hashlib
_sha512 | * | new | as hashlib
_sha3 | * | new | as hashlib
_md5 | * | new | as hashlib
_blake2 | * | new | as hashlib
hmac | * | new | as hashlib
base64 | * | new | pure functions
binascii | * | new | GIL
struct | * | new | GIL
_struct | * | new | GIL
_struct | pack_into | second | it writes its buffer
json | * | calls | objects of the call's own
_json | * | calls | objects of the call's own
pickle | * | calls | objects of the call's own
_pickle | * | calls | objects of the call's own
marshal | * | new | GIL
copy | copy | copy | the parts are shared
copy | deepcopy | new | the copy is the call's own
re | * | calls | the cache of patterns is a dict, each step under the GIL
_sre | * | calls | GIL
string | * | new | pure functions
textwrap | * | new | pure functions
unicodedata | * | new | GIL
difflib | * | new | objects of the call's own
pprint | pformat saferepr | new | objects of the call's own
reprlib | * | new | pure functions
datetime | * | new | immutable
_datetime | * | new | immutable
_strptime | * | new | it locks
calendar | * | new | pure functions
calendar | setfirstweekday | unsafe | it sets the first day of all
zoneinfo | * | new | immutable
collections | * | parts | objects of the call's own
_collections | * | parts | as collections
_collections | _count_elements | counts | it writes the counter
array | * | parts | objects of the call's own
types | SimpleNamespace MethodType MappingProxyType GenericAlias CellType | keeps | objects of the call's own
types | FunctionType ModuleType TracebackType DynamicClassAttribute | keeps | objects of the call's own
itertools | * | parts | objects of the call's own
functools | reduce | part | pure function
_functools | reduce | part | pure function
functools | cmp_to_key partial | keeps | objects of the call's own
_functools | cmp_to_key partial | keeps | objects of the call's own
operator | * | part | pure functions
operator | itemgetter attrgetter methodcaller | keeps | immutable
_operator | * | part | pure functions
operator | itemgetter attrgetter methodcaller | keeps | immutable
operator | setitem delitem iadd iand iconcat ifloordiv ilshift imatmul imod | first | it writes its first argument
operator | imul ior ipow irshift isub itruediv ixor | first | it writes its first argument
_operator | setitem delitem iadd iand iconcat ifloordiv ilshift imatmul imod | first | it writes its first argument
_operator | imul ior ipow irshift isub itruediv ixor | first | it writes its first argument
heapq | heappush heappop heapify heapreplace heappushpop | first | it writes the heap
_heapq | heappush heappop heapify heapreplace heappushpop | first | it writes the heap
heapq | merge nlargest nsmallest | parts | pure functions
bisect | * | new | GIL
_bisect | * | new | GIL
bisect | insort insort_left insort_right | first | it writes the list
_bisect | insort insort_left insort_right | first | it writes the list
random | random uniform triangular randint randrange choice | new | random.html: only gauss tells two threads the same
random | choices sample getrandbits randbytes betavariate | new | random.html: only gauss tells two threads the same
random | expovariate gammavariate lognormvariate | new | random.html: only gauss tells two threads the same
random | paretovariate vonmisesvariate weibullvariate | new | random.html: only gauss tells two threads the same
random | normalvariate binomialvariate | new | random.html: only gauss tells two threads the same
random | seed setstate gauss | unsafe | all threads draw from one generator
random | shuffle | first | it writes its argument
random | Random SystemRandom | new | objects of the call's own
secrets | * | new | the system's generator
uuid | * | new | the system's generator, or a lock
posix | * | new | system calls
nt | * | new | system calls
os | * | new | system calls
posix | chdir fchdir chroot putenv unsetenv umask setuid setgid seteuid | unsafe | it changes the whole process
posix | setegid setgroups setsid setpgid nice setpriority sched_setaffinity | unsafe | it changes the whole process
posix | sched_setscheduler fork forkpty environ dup2 closerange _exit abort | unsafe | it changes the whole process
posix | execv execve | unsafe | it changes the whole process
nt | chdir fchdir chroot putenv unsetenv umask setuid setgid seteuid setegid | unsafe | it changes the whole process
nt | setgroups setsid setpgid nice setpriority sched_setaffinity | unsafe | it changes the whole process
nt | sched_setscheduler fork forkpty environ dup2 closerange _exit abort execv | unsafe | it changes the whole process
nt | execve | unsafe | it changes the whole process
os | chdir fchdir chroot putenv unsetenv umask setuid setgid seteuid setegid | unsafe | it changes the whole process
os | setgroups setsid setpgid nice setpriority sched_setaffinity | unsafe | it changes the whole process
os | sched_setscheduler fork forkpty environ dup2 closerange _exit abort execv | unsafe | it changes the whole process
os | execve | unsafe | it changes the whole process
posix | lseek read readv write writev sendfile splice ftruncate | place | the file's position is shared
nt | lseek read readv write writev sendfile splice ftruncate | place | the file's position is shared
os | lseek read readv write writev sendfile splice ftruncate | place | the file's position is shared
posixpath | * | new | pure functions and system calls
ntpath | * | new | pure functions and system calls
genericpath | * | new | system calls
pathlib | * | new | system calls
stat | * | new | GIL
_stat | * | new | GIL
shutil | * | calls | system calls
shutil | register_archive_format unregister_archive_format | unsafe | it sets what all calls go by
shutil | register_unpack_format unregister_unpack_format | unsafe | it sets what all calls go by
glob | * | new | system calls
fnmatch | * | new | as re
tempfile | * | new | it locks
filecmp | cmp | new | a dict under the GIL
linecache | * | new | a dict under the GIL
fileinput | * | unsafe | all threads share its file
mmap | * | new | objects of the call's own
csv | * | calls | objects of the call's own
_csv | * | calls | objects of the call's own
csv | register_dialect unregister_dialect field_size_limit | unsafe | it sets what all readers go by
_csv | register_dialect unregister_dialect field_size_limit | unsafe | it sets what all readers go by
configparser | * | new | objects of the call's own
tomllib | * | calls | objects of the call's own
plistlib | * | new | objects of the call's own
html | * | new | objects of the call's own
_markupbase | * | new | as html
xml | * | new | objects of the call's own
_elementtree | * | new | objects of the call's own
xml.etree.ElementTree | register_namespace | unsafe | it sets what all trees go by
pyexpat | * | new | objects of the call's own
email | * | new | objects of the call's own
email.charset | add_charset add_alias add_codec | unsafe | it sets what all messages go by
mimetypes | guess_type guess_extension | new | a table that is read
quopri | * | new | pure functions
zipfile | * | new | objects of the call's own
tarfile | * | new | objects of the call's own
sqlite3 | * | new | sqlite3.html: a connection of the call's own
sqlite3 | register_adapter register_converter | unsafe | it sets what all connections go by
sqlite3 | enable_callback_tracebacks | unsafe | it sets what all connections go by
_sqlite3 | * | new | a connection of the call's own
_sqlite3 | register_adapter register_converter | unsafe | it sets what all connections go by
_sqlite3 | enable_callback_tracebacks | unsafe | it sets what all connections go by
dbm | * | new | objects of the call's own
urllib | * | new | connections of the call's own
urllib.request | install_opener urlcleanup | unsafe | it sets what all requests go by
http | * | new | connections of the call's own
ftplib | * | new | connections of the call's own
smtplib | * | new | connections of the call's own
imaplib | * | new | connections of the call's own
poplib | * | new | connections of the call's own
xmlrpc | * | new | connections of the call's own
socket | * | new | sockets of the call's own
_socket | * | new | sockets of the call's own
socket | setdefaulttimeout | unsafe | it sets what all sockets go by
_socket | setdefaulttimeout | unsafe | it sets what all sockets go by
ssl | * | new | sockets of the call's own
_ssl | * | new | sockets of the call's own
select | * | new | system calls
selectors | * | new | objects of the call's own
subprocess | * | new | subprocess.html: each call has a process of its own
shlex | * | new | objects of the call's own
platform | * | new | a dict under the GIL
ast | * | new | objects of the call's own
_ast | * | new | objects of the call's own
tokenize | * | calls | objects of the call's own
_tokenize | * | calls | objects of the call's own
token | * | new | pure functions
keyword | * | new | a table that is read
ipaddress | * | new | immutable
colorsys | * | new | pure functions
enum | * | new | immutable
dataclasses | _recursive_repr.<locals>.wrapper | new | its set holds what each thread shows
dataclasses | replace asdict astuple field fields is_dataclass | parts | objects of the call's own
contextlib | closing suppress nullcontext ExitStack | keeps | objects of the call's own
contextlib | redirect_stdout redirect_stderr chdir | unsafe | it changes the whole process
threading | * | calls | threading.html
_thread | * | calls | threading.html
threading | main_thread current_thread enumerate | gives | all calls get one thread
threading | settrace setprofile stack_size excepthook | unsafe | it changes the whole process
_thread | stack_size | unsafe | it changes the whole process
queue | * | new | queue.html
_queue | * | new | queue.html
concurrent.futures | * | calls | objects of the call's own
contextvars | * | new | each thread has its own
_contextvars | * | new | each thread has its own
logging | * | new | logging.html#thread-safety
logging | getLogger getHandlerByName getLoggerClass | gives | all calls get one logger
logging | basicConfig disable setLoggerClass addLevelName captureWarnings | unsafe | it changes the whole process
logging | shutdown | unsafe | it changes the whole process
warnings | warn warn_explicit | new | GIL
_warnings | warn warn_explicit | new | GIL
warnings | * | unsafe | warnings.html: the filters belong to the process
locale | * | new | it reads
_locale | * | new | it reads
locale | setlocale textdomain bindtextdomain bind_textdomain_codeset | unsafe | locale.html: it is not thread-safe
_locale | setlocale textdomain bindtextdomain bind_textdomain_codeset | unsafe | locale.html: it is not thread-safe
signal | * | unsafe | signals belong to the process, and to its main thread
_signal | * | unsafe | signals belong to the process, and to its main thread
sys | getsizeof getrefcount intern exc_info exception getrecursionlimit getdefaultencoding exit | new | GIL
sys | is_finalizing getfilesystemencoding _getframe | new | GIL
sys | * | unsafe | it changes the whole process
gc | * | unsafe | it changes the whole process
resource | getrusage getrlimit getpagesize | new | system calls
resource | * | unsafe | it changes the whole process
traceback | * | new | objects of the call's own
errno | * | new | constants
typing | * | new | it does nothing at run time
abc | * | new | GIL
_abc | * | new | GIL
weakref | ref | keeps | GIL
weakref | finalize | calls | its registry is a dict under the GIL
atexit | * | unsafe | it changes the whole process
importlib | import_module | gives | imports lock; all calls get one module
codecs | * | new | objects of the call's own
codecs | register unregister register_error | unsafe | it sets what all codecs go by
_codecs | * | new | GIL
_codecs | register unregister register_error | unsafe | it sets what all codecs go by
encodings | * | new | GIL
numpy | * | new | numpy.org/doc/stable/reference/thread_safety.html
numpy | asarray asanyarray ascontiguousarray asfortranarray ravel reshape squeeze expand_dims | same | a view
numpy | transpose swapaxes moveaxis rollaxis atleast_1d atleast_2d atleast_3d broadcast_to | same | a view
numpy | broadcast_arrays diagonal real imag split array_split hsplit vsplit dsplit flip fliplr flipud | same | a view
numpy | rot90 require frombuffer permute_dims matrix_transpose sliding_window_view as_strided | same | a view
numpy | nditer nested_iters einsum ndarray matrix recarray | same | a view
numpy.ma | * | same | it shares the data
numpy.matrixlib | * | same | a view
numpy | copyto put place putmask fill_diagonal put_along_axis | first | it writes its first argument
numpy | seterr seterrcall setbufsize set_printoptions printoptions | unsafe | it sets what all threads go by
numpy | set_string_function | unsafe | it sets what all threads go by
numpy.polynomial | set_default_printstyle | unsafe | it sets what all threads go by
numpy.lib | sliding_window_view as_strided | same | a view
numpy.random | seed set_state | unsafe | all threads draw from one generator
numpy.random | shuffle | first | it writes its argument
scipy.linalg | * | calls | docs.scipy.org/doc/scipy/tutorial/thread_safety.html
scipy.fft | * | new | docs.scipy.org/doc/scipy/tutorial/thread_safety.html
scipy.signal | * | calls | docs.scipy.org/doc/scipy/tutorial/thread_safety.html
scipy.ndimage | * | calls | docs.scipy.org/doc/scipy/tutorial/thread_safety.html
requests.api | * | new | requests.readthedocs.io/en/latest/api/: each call has a session of its own
requests.sessions | Session session | new | a session of the call's own
httpx | * | new | www.python-httpx.org/advanced/clients/: each call has a client of its own
urllib3 | * | new | urllib3.readthedocs.io/en/stable/advanced-usage.html: pools are thread-safe
PIL | * | new | pillow.readthedocs.io/en/stable/releasenotes: images of the call's own
pandas | read_csv read_table read_fwf read_json read_parquet read_feather read_orc | new | frames of the call's own
pandas | read_excel read_xml read_html read_pickle read_stata read_sas read_spss | new | frames of the call's own
pandas | read_hdf | new | frames of the call's own
pandas.io | * | new | frames of the call's own
pandas.core.frame | DataFrame | new | its own frame
pandas.core.series | Series | new | its own series
pyarrow | * | new | arrow.apache.org/docs/python: tables are immutable
polars | * | new | docs.pola.rs: frames of the call's own
lxml | * | new | lxml.de/FAQ.html#can-i-use-threads-to-concurrently-access-the-lxml-api
orjson | * | calls | github.com/ijl/orjson: no state
ujson | * | new | no state
yaml | safe_load safe_dump load dump | new | a loader of the call's own
simplejson | * | calls | as json
boto3 | client resource | unsafe | boto3.amazonaws.com/.../clients.html: the default session is not thread-safe
botocore | * | new | docs.aws.amazon.com/boto3: clients are thread-safe
redis | * | new | redis.readthedocs.io: its client takes a connection from a pool for each command
pymongo | * | new | pymongo.readthedocs.io/en/stable/faq.html#is-pymongo-thread-safe
zstandard | compress decompress ZstdCompressor ZstdDecompressor | new | objects of the call's own
lz4 | * | new | objects of the call's own
brotli | * | new | no state
cv2 | * | new | no state
xxhash | * | new | objects of the call's own
blake3 | * | new | objects of the call's own
"""

# module | names | kind | source
KINDS_TABLE: Final = """
builtins | int float complex bool str bytes NoneType range ellipsis NotImplementedType slice code | atomic | immutable
builtins | builtin_function_or_method method_descriptor wrapper_descriptor method-wrapper | atomic | immutable
builtins | classmethod_descriptor getset_descriptor member_descriptor | atomic | immutable
types | GenericAlias UnionType | atomic | immutable
typing | TypeVar | atomic | immutable
datetime | date datetime time timedelta timezone tzinfo | atomic | immutable
zoneinfo | ZoneInfo | atomic | immutable
decimal | Decimal | atomic | immutable
fractions | Fraction | atomic | immutable
uuid | UUID | atomic | immutable
enum | Enum | atomic | members are constants
re | Pattern Match | atomic | immutable
_struct | Struct | atomic | immutable
string | Template | atomic | immutable
pathlib | PurePath | atomic | immutable, but for caches of its parts
pathlib._local | PurePath | atomic | immutable, but for caches of its parts
ipaddress | _IPAddressBase | atomic | immutable
operator | itemgetter attrgetter methodcaller | atomic | immutable
numpy | generic dtype ufunc | atomic | immutable
_contextvars | ContextVar | shared | each thread has its own
builtins | ContextVar | shared | each thread has its own
_contextvars | Token | atomic | immutable
_thread | _local | shared | each thread has its own
dataclasses | _HAS_DEFAULT_FACTORY_CLASS | atomic | a mark
_thread | lock RLock LockType | shared | threading.html
threading | Condition Semaphore Event Barrier _RLock | shared | threading.html
queue | Queue | shared | queue.html
_queue | SimpleQueue | shared | queue.html
logging | Logger LoggerAdapter | shared | logging.html#thread-safety
multiprocessing.synchronize | SemLock | shared | as threading's
urllib3.poolmanager | PoolManager | shared | urllib3.readthedocs.io/en/stable/advanced-usage.html
urllib3._request_methods | RequestMethods | shared | as its PoolManager
httpx | Client | shared | www.python-httpx.org/advanced/clients/
httpx._client | Client | shared | www.python-httpx.org/advanced/clients/
botocore.client | BaseClient | shared | docs.aws.amazon.com/boto3: clients are thread-safe
redis.client | Redis | shared | redis.readthedocs.io: its client takes a connection from a pool for each command
pymongo.mongo_client | MongoClient | shared | pymongo.readthedocs.io/en/stable/faq.html#is-pymongo-thread-safe
pymongo.synchronous.mongo_client | MongoClient | shared | pymongo.readthedocs.io/en/stable/faq.html
concurrent.futures._base | Executor Future | shared | concurrent.futures.html
builtins | list dict set frozenset tuple mappingproxy dict_keys dict_values dict_items | holds | GIL
collections | deque OrderedDict defaultdict Counter | holds | GIL
builtins | bytearray memoryview | array | GIL
array | array | array | GIL
numpy | ndarray | array | GIL
_io | _IOBase | bad | io.html#multi-threading: the position in a file is shared
sqlite3 | Connection Cursor Blob | bad | sqlite3.html#sqlite3.threadsafety
http.client | HTTPConnection HTTPResponse | bad | one request at a time
_socket | socket | bad | what two threads send and receive gets mixed
_random | Random | bad | one state
numpy.random | Generator RandomState BitGenerator | bad | numpy.org/doc/stable/reference/random/multithreading.html
numpy.random._generator | Generator | bad | numpy.org/doc/stable/reference/random/multithreading.html
numpy.random.mtrand | RandomState | bad | numpy.org/doc/stable/reference/random/multithreading.html
numpy.random.bit_generator | BitGenerator | bad | numpy.org/doc/stable/reference/random/multithreading.html
requests.sessions | Session | bad | requests: no promise; its cookies are shared
boto3.session | Session | bad | docs.aws.amazon.com/boto3: sessions are not thread-safe
boto3.resources.base | ServiceResource | bad | docs.aws.amazon.com/boto3: resources are not thread-safe
smtplib | SMTP | bad | one conversation
ftplib | FTP | bad | one conversation
imaplib | IMAP4 | bad | one conversation
zipfile | ZipFile | bad | one position in the file
tarfile | TarFile | bad | one position in the file
mmap | mmap | bad | one position
decimal | Context | bad | shared with the caller
builtins | generator coroutine async_generator | bad | a generator that runs cannot be asked by another thread
zlib | Compress Decompress | bad | one stream
_bz2 | BZ2Compressor BZ2Decompressor | bad | one stream
_lzma | LZMACompressor LZMADecompressor | bad | one stream
_csv | reader writer | bad | an iterator of one file
os | _Environ | holds | it belongs to the process
"""


def _read(table: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for row in table.strip().splitlines():
        module, names, what, _ = row.split(" | ")
        if names == "*":
            found[module] = what
        else:
            for name in names.split(" "):
                found[f"{module}.{name}"] = what
    return found


_calls: Final = _read(CALLS_TABLE)
KINDS: Final = _read(KINDS_TABLE)


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

"""One run as history stores it: the decision, the forecast, and the clock.

In the file a row is JSON, packed so that 100,000 of them stay below 50 MB: defaults are left out, numbers keep the
digits that a measurement can have, and times and sample are lists in the order of `TIMES` and `SAMPLE_FIELDS`. Reading
is tolerant: a field that an older amorsize did not write has its default, and one that a newer amorsize added is in
``extra``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite, log2

from amorsize.facts import Machine, Sample
from amorsize.frozen import Frozen, as_dict, defaults, field, field_names
from amorsize.history.fingerprint import fingerprint, name_of
from amorsize.history.machine_id import digest_of, features, here
from amorsize.history.shape import Shape
from amorsize.history.waiting import HERE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from amorsize.facts import Forecast

SOURCES: Final = ("execute", "optimize", "tune", "import")
# Significant digits that are stored (guesses).
DIGITS: Final = 6
SAMPLE_DIGITS: Final = 4
# No count and no duration is larger; a row may hold any number, of hundreds of digits even (a guess).
LARGEST: Final = 1e18
TIMES: Final = ("clock_s", "predicted_s", "low_s", "high_s", "serial_s", "work_s", "work_cpu_s", "threads_gain")
"""Order of the seconds in the file, with both ends of the interval; only ever appended to."""

SAMPLE_FIELDS: Final = (
    "n_sampled", "item_s", "item_std_s", "item_max_s", "item_cpu_s", "last_s", "first_call_s", "error_s", "arg_bytes",
    "result_bytes", "arg_pickle_s", "arg_unpickle_s", "result_pickle_s", "result_unpickle_s", "touched_bytes",
    "worker_s", "gil_held", "own_threads", "rss_growth_bytes", "transfer_error", "kept_s",
    "func_bytes", "func_pickle_s", "func_unpickle_s",
)  # fmt: skip
"""Order of a sample's values in the file; only ever appended to."""

WEIGHED_ANEW: Final = frozenset(("func_bytes", "func_pickle_s", "func_unpickle_s"))
"""Values that are not stored: each plan weighs the function that it was given."""


class Run(Frozen):
    """One run: the decision, the forecast, and the clock.

    Attributes
    ----------
    at_s : float
        End of the run, in seconds since the epoch.
    function : str or callable
        The function's fingerprint; the function itself only before it is written.
    name : str
        The function's readable name.
    source : str
        ``"execute"``, ``"optimize"`` (a plan's pool), ``"tune"`` (one trial), or ``"import"`` (a row of another file,
        from any of these).
    shape : Shape or None
        Types and size of the data.
    n_items : int or None
        Length of the data; of a run that did not end well, the number of its results. None if unknown.
    backend : str
        ``"serial"``, ``"threads"``, ``"processes"``, ``"executor"``, or ``"async"`` (tasks of an event loop; written as
        ``"tasks"`` by earlier versions).
    n_jobs, chunksize : int
        As decided; if chunks shrink, the first chunksize.
    start_method : str or None
        Start method of the processes; None without processes.
    predicted_s : float or None
        Forecast of the run; None if there was none.
    predicted_interval_s : (float, float) or None
        Interval that should hold the clock in 80 % of runs.
    serial_s : float or None
        Estimated time of a plain loop.
    clock_s : float
        Measured time of the run.
    work_s, work_cpu_s : float or None
        Seconds that workers spent in the function, in total: by the clock, and of CPU. None: not measured.
    work_items : int or None
        Number of items that these seconds cover.
    threads_gain : float or None
        Speedup of two threads over one, if measured.
    sample : Mapping or None
        The `Sample` that the decision rests on; defaults may be missing (see `sample_of`).
    machine : Mapping or None
        Features of the machine (`amorsize.history.machine_id`).
    outcome : str
        ``"ok"``, or how the run failed, such as ``"raised"``.
    extra : Mapping
        Anything else. ``recalled``: the sample comes from earlier runs, and was not measured for this one. ``known``:
        number of earlier runs that `amorsize.optimize` answered from, without calling the function. ``surprise``: the
        clock contradicted these.
    """

    at_s: float = 0.0
    function: str | Callable[..., object] = ""
    name: str = ""
    source: str = "execute"
    shape: Shape | None = None
    n_items: int | None = None
    backend: str = "serial"
    n_jobs: int = 1
    chunksize: int = 1
    start_method: str | None = None
    predicted_s: float | None = None
    predicted_interval_s: tuple[float, float] | None = None
    serial_s: float | None = None
    clock_s: float = 0.0
    work_s: float | None = None
    work_cpu_s: float | None = None
    work_items: int | None = None
    threads_gain: float | None = None
    sample: Mapping[str, Any] | None = field(default=None, hash=False)
    machine: Mapping[str, Any] | None = field(default=None, hash=False)
    outcome: str = "ok"
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @classmethod
    def of_call(
        cls,
        func: Callable[..., object],
        shape: Shape | None,
        n_items: int | None,
        clock_s: float,
        *,
        forecast: Forecast | None = None,
        loop_s: float = 0.0,
        sample: Any = None,
        machine: Any = HERE,
        extra: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> Run:
        """Return the run of a call that has ended, to be recorded.

        Parameters
        ----------
        func, shape, n_items, clock_s
            The map, and its time.
        forecast : Forecast, optional
            What was carried out, after ``loop_s`` seconds of a plain loop.
        sample, machine
            A record, a mapping, or None; not converted until the row is written.
        extra : Mapping, optional
            Values that are None are left out.
        **fields
            Other fields; they count more than the forecast's.
        """
        if forecast is not None:
            fields = {
                "backend": forecast.backend,
                "n_jobs": forecast.workers,
                "chunksize": forecast.chunksize,
                "start_method": forecast.start_method,
                "predicted_s": loop_s + forecast.total_s,
                "predicted_interval_s": (loop_s + forecast.low_s, loop_s + forecast.high_s),
                **fields,
            }
        return cls(
            function=func,
            shape=shape,
            n_items=n_items,
            clock_s=clock_s,
            sample=sample,
            machine=machine,
            extra={name: value for name, value in (extra or {}).items() if value is not None},
            **fields,
        )

    @property
    def machine_digest(self) -> str | None:
        """The machine's digest (`amorsize.history.machine_id`); None if unknown."""
        return digest_of(features(self.machine))

    def to_dict(self) -> dict[str, Any]:
        """Return a dict for JSON: a function becomes its fingerprint, and its name is the default of ``name``."""
        values = as_dict(self)
        values["shape"] = None if self.shape is None else as_dict(self.shape)
        if callable(self.function):
            values["function"] = fingerprint(self.function)
            values["name"] = self.name or name_of(self.function)
        return values

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Run:
        """Read a row: a missing or invalid value has its default, one without a field goes into ``extra``.

        Examples
        --------
        >>> run = Run.from_dict({"clock_s": 2, "n_jobs": "many", "colour": "red"})
        >>> run.clock_s, run.n_jobs, run.extra
        (2.0, 1, {'colour': 'red'})
        """
        values: dict[str, Any] = {}
        unknown: dict[str, Any] = {}
        if isinstance(times := row.get("times"), list):
            row = {**dict(zip(TIMES, times, strict=False)), **{key: row[key] for key in row if key != "times"}}
            row["predicted_interval_s"] = (row.pop("low_s", None), row.pop("high_s", None))
        for key, value in row.items():
            read = _READERS.get(key)
            if read is None:
                unknown[str(key)] = value
            elif (sense := read(value)) is not _NONSENSE:
                values[key] = sense
        values["extra"] = {**values.get("extra", {}), **unknown}
        return cls(**values)


# -- in the file -----------------------------------------------------------------------------------------------------


def pack(row: Mapping[str, Any]) -> dict[str, Any]:
    """Pack a row for the file (`amorsize.history.tables.insert`). ``sample`` and ``machine`` may be records."""
    packed: dict[str, Any] = {str(key): _short(value) for key, value in row.items() if not _is_default(key, value)}
    packed.pop("extra", None)
    packed |= {str(key): _short(value) for key, value in _mapping_or(row.get("extra"), {}).items()}
    packed["at_s"] = row.get("at_s")
    low_s, high_s = packed.pop("predicted_interval_s", None) or (None, None)
    times = {"low_s": low_s, "high_s": high_s}
    packed["times"] = _list_of([times[name] if name in times else packed.pop(name, None) for name in TIMES])
    shape = row.get("shape")
    if isinstance(shape, Shape):
        shape = list(as_dict(shape).values())
    if isinstance(shape, tuple | list):
        packed["shape"] = [_short(value) for value in shape]
    if (sample := row.get("sample")) is not None:
        packed["sample"] = _packed_sample(sample)
    packed["machine"] = _packed_machine(row.get("machine"))
    packed["alike"] = _alike(row, packed)
    return packed


def _packed_machine(machine: object) -> dict[str, Any] | None:
    """Return the features of a machine that are stored, with their digest."""
    if machine is HERE:
        return here()
    kept = features(machine) if isinstance(machine, Machine | Mapping) else None
    return {**kept, "digest": digest_of(kept)} if kept else None


def _is_default(key: object, value: object) -> bool:
    # Every field reads None as its default.
    if value is None:
        return True
    default = _DEFAULTS.get(key, _NONSENSE)  # type: ignore[call-overload]
    return value is default or (type(value) is type(default) and value == default)


def _short(value: Any, digits: int = DIGITS) -> Any:
    """Round a float to its significant digits; None if it is not finite."""
    if isinstance(value, float):
        return float(f"{value:.{digits}g}") if isfinite(value) else None
    if isinstance(value, tuple):
        return [_short(one, digits) for one in value]
    return value


def _list_of(values: list[Any]) -> list[Any]:
    """Drop the missing values at the end."""
    while values and values[-1] is None:
        values.pop()
    return values


def _packed_sample(sample: Any) -> Any:
    """Pack a sample into a list if it has only the fields of a `Sample`, else into a mapping."""
    values: Mapping[str, Any]
    if isinstance(sample, Mapping):
        values = sample
    elif isinstance(sample, Frozen):
        # Asked for its fields as a dataclass, it would load dataclasses (5 ms), at the end of each program.
        values = as_dict(sample)
    else:
        values = {name: getattr(sample, name) for name in getattr(type(sample), "__dataclass_fields__", {})}
    values = {str(key): _short(value, SAMPLE_DIGITS) for key, value in values.items()}
    known = {key: value for key, value in values.items() if key in _SAMPLE_DEFAULTS}
    if len(known) < len(values):
        return values
    told = {key: value for key, value in known.items() if key not in WEIGHED_ANEW and value != _SAMPLE_DEFAULTS[key]}
    return _list_of([told.get(key) for key in SAMPLE_FIELDS])


def _alike(row: Mapping[str, Any], packed: Mapping[str, Any]) -> int:
    """Hash what equivalent rows share: function, kind and size of data, candidate, machine, source."""
    from amorsize.system.blake2 import blake2b

    kind, items, size = [*(packed.get("shape") or ()), None, None, None][:3]
    machine = packed.get("machine") or {}
    parts = [row.get("function"), kind, items, _octave(size), _octave(row.get("n_items")), row.get("backend")]
    parts += [row.get("n_jobs"), _octave(row.get("chunksize")), row.get("start_method"), machine.get("digest")]
    parts += [row.get("source"), bool(packed.get("surprise"))]
    told = repr(parts).encode("utf-8", "backslashreplace")
    return int.from_bytes(blake2b(told, digest_size=8).digest(), "big") >> 1


def _octave(value: object) -> int | None:
    return int(log2(value)) if isinstance(value, int | float) and is_number(value) and value else None


def unpack(packed: Mapping[str, Any]) -> Run:
    """Return the run of a packed row, as if it had been read from the file."""
    from amorsize.history.tables import dumps, loads

    row = loads(dumps({key: value for key, value in packed.items() if key != "alike"})) or {}
    machine = {key: value for key, value in (row.pop("machine", None) or {}).items() if key != "digest"}
    return Run.from_dict({**row, "machine": machine} if machine else row)


# -- reading ---------------------------------------------------------------------------------------------------------


def sample_of(run: Run) -> Sample | None:
    """Return the sample of a run; None if there is none, or it is invalid."""
    if run.sample is None:
        return None
    values: dict[str, Any] = {}
    for name, default in _SAMPLE_DEFAULTS.items():
        value = run.sample.get(name)
        fits = isinstance(value, str) if name == "transfer_error" else is_number(value)
        values[name] = value if fits else default
    return Sample(**values) if values["item_s"] > 0 else None


def is_number(value: object) -> bool:
    """True for a finite number, 0 or more, that a float can hold."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LARGEST


_NONSENSE: Final = object()


def _text(value: object) -> object:
    return value if isinstance(value, str) else _NONSENSE


def _count(value: object) -> object:
    return value if isinstance(value, int) and is_number(value) else _NONSENSE


def _seconds(value: object) -> object:
    return float(value) if isinstance(value, int | float) and is_number(value) else _NONSENSE


def _mapping(value: object) -> object:
    return value if isinstance(value, Mapping) else _NONSENSE


def _mapping_or(value: object, other: Mapping[str, Any]) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else other


def _interval(value: object) -> object:
    if not isinstance(value, list | tuple) or len(value) != 2:
        return _NONSENSE
    low, high = map(_seconds, value)
    return _NONSENSE if low is _NONSENSE or high is _NONSENSE else (low, high)


def _shape(value: object) -> object:
    if isinstance(value, Mapping):
        value = [value.get(name) for name in field_names(Shape)]
    if not isinstance(value, list | tuple) or len(value) != 3:
        return _NONSENSE
    kind, items, size = value
    sound = isinstance(kind, str) and isinstance(items, str) and (size is None or is_number(size))
    return Shape(kind, items, None if size is None else float(size)) if sound else _NONSENSE


def _sample(value: object) -> object:
    if not isinstance(value, list) or not value:
        return _mapping(value)
    return {name: one for name, one in zip(SAMPLE_FIELDS, value, strict=False) if one is not None}


# How to read each field. For each of them None means the default.
_READERS: Final[dict[str, Callable[[object], object]]] = {
    **dict.fromkeys(("function", "name", "source", "backend", "start_method", "outcome"), _text),
    **dict.fromkeys(("n_items", "n_jobs", "chunksize", "work_items"), _count),
    **dict.fromkeys(("at_s", "predicted_s", "serial_s", "clock_s", "work_s", "work_cpu_s", "threads_gain"), _seconds),
    **dict.fromkeys(("machine", "extra"), _mapping),
    "predicted_interval_s": _interval,
    "shape": _shape,
    "sample": _sample,
}
_DEFAULTS: Final = defaults(Run)
_SAMPLE_DEFAULTS: Final[dict[str, Any]] = {name: defaults(Sample).get(name, 0) for name in field_names(Sample)}

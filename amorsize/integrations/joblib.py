"""amorsize as a backend of joblib, and so of scikit-learn: ``import amorsize.integrations.joblib`` registers it.

It begins each call as a loop in the caller, keeps those results, and takes threads or processes only if they pay:
``n_jobs`` is the most that it may use. ``require``, ``return_as``, ``timeout``, ``pre_dispatch``, ``max_nbytes``,
``mmap_mode``, ``temp_folder``, ``inner_max_num_threads`` and nested calls mean what they mean in joblib.
``prefer="threads"`` is a hint that the tasks may run in threads; ``prefer="processes"``, that they must not.

Examples
--------
>>> import amorsize.integrations.joblib                                                         # doctest: +SKIP
>>> from joblib import Parallel, delayed, parallel_config                                       # doctest: +SKIP
>>> with parallel_config("amorsize"):                                                           # doctest: +SKIP
...     Parallel()(delayed(pow)(i, 2) for i in range(5))
[0, 1, 4, 9, 16]
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from amorsize.hints import Needs
from amorsize.options import check

with Needs("amorsize.integrations.joblib", "joblib", "joblib"):
    from joblib import register_parallel_backend
    from joblib.parallel import FallbackToBackend, ParallelBackendBase, SequentialBackend

from amorsize.integrations.joblib_call import Call, Options
from amorsize.integrations.joblib_loop import LoopFirst
from amorsize.integrations.joblib_workers import Nested, Start, cores_here, workers_load_numpy

if TYPE_CHECKING:
    from amorsize.facts import Backend

NAME = "amorsize"


class AmorsizeBackend(ParallelBackendBase):  # type: ignore[misc]  # joblib has no types
    """A backend for `joblib.Parallel`; ``parallel_config(AmorsizeBackend())`` needs no registration.

    Parameters
    ----------
    nesting_level : int, optional
        Set by joblib.
    inner_max_num_threads : int, optional
        BLAS and OpenMP threads within each task. By default a loop has all cores, and workers share them.
    initializer : callable, optional
        Called with ``initargs`` in each worker process before its first task. All tasks then run in worker processes
        (in threads, and without it, where shared memory is required).
    initargs : tuple
    """

    default_n_jobs = -1
    supports_retrieve_callback = True
    supports_inner_max_num_threads = True
    supports_sharedmem = True
    uses_threads = False

    def __init__(
        self,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
        *,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
    ) -> None:
        check(callable, (), initializer=initializer, initargs=initargs)
        super().__init__(nesting_level, inner_max_num_threads, initializer=initializer, initargs=initargs)
        # Of a copy for one `Parallel`: its present call.
        self._call: Call | None = None
        self._options: Options | None = None
        self.parallel: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _backend, (self.nesting_level, self.inner_max_num_threads, self.backend_kwargs)

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return the most workers for ``n_jobs``: -1 means all usable cores, within a worker its share of them."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            return 1
        return n_jobs if n_jobs > 0 else max(1, cores_here() + 1 + n_jobs)

    def configure(
        self,
        n_jobs: int = 1,
        parallel: Any = None,
        prefer: str | None = None,
        require: str | None = None,
        *,
        max_nbytes: int | None = None,
        mmap_mode: str | None = "r",
        temp_folder: str | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        **others: Any,
    ) -> int:
        """Prepare for the calls of one ``Parallel``, and return the most workers.

        One backend may serve many ``Parallel`` at a time, so that each gets a copy, by joblib's own way to another
        backend. ``others``: what joblib tells all backends.
        """
        if self.parallel is not parallel:
            own = copy.copy(self)
            own.parallel, own._call = parallel, None
            raise FallbackToBackend(own)
        workers = self.effective_n_jobs(n_jobs)
        backends = self._backends(prefer, require)
        if workers == 1 or backends == ("serial",):
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        if initializer is None:
            initializer, initargs = self.backend_kwargs["initializer"], self.backend_kwargs["initargs"]
        check(callable, (), initializer=initializer, initargs=initargs)
        if "processes" not in backends:
            initializer, initargs = None, ()
        environment = self._prepare_worker_env(n_jobs=workers)
        limit = self.inner_max_num_threads
        native = _number(environment["OMP_NUM_THREADS"]) if limit is None and workers_load_numpy() else limit
        self._options = Options(
            n_jobs=workers,
            backends=backends,
            is_threadsafe=require == "sharedmem" or (prefer == "threads" and "threads" in backends),
            begins_here=parallel.return_as == "list" and parallel.timeout is None and initializer is None,
            cores=cores_here(),
            shares=(max_nbytes, mmap_mode, temp_folder),
            start=Start(workers, self._nested(), environment, native, initializer, tuple(initargs)),
            limit=limit,
        )
        return workers

    def _backends(self, prefer: str | None, require: str | None) -> tuple[Backend, ...]:
        """Return the ways that tasks may run; AMORSIZE_BACKENDS counts as for ``execute()``."""
        allowed = check(callable, ()).backends
        if require == "sharedmem":
            return tuple(one for one in allowed if one != "processes")
        return tuple(one for one in allowed if one != "threads" or prefer != "processes")

    def _nested(self) -> Nested:
        return Nested((self.nesting_level or 0) + 1)

    def start_call(self) -> None:
        """Begin a call: joblib knows by now whether it knows the number of tasks."""
        assert self._options is not None
        kind = LoopFirst if self._options.begins_here else Call
        self._call = kind(self.parallel, self._options)

    def stop_call(self) -> None:
        """End a call; its workers stay warm."""
        call, self._call = self._call, None
        if call is not None:
            call.close()

    def terminate(self) -> None:
        """End the last call of this ``Parallel``."""
        self.stop_call()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Kill the processes that run tasks of this call. Threads end after their present task."""
        self.stop_call()

    def compute_batch_size(self) -> int:
        """Return the number of tasks of the next batch, from the time that tasks have taken."""
        return 1 if self._call is None else self._call.batch_size()

    def submit(self, func: Any, callback: Any = None) -> Any:
        """Take a batch of tasks; ``callback`` is called with what this returns when they are done."""
        assert self._call is not None
        return self._call.submit(func.items, callback)

    def retrieve_result_callback(self, out: Any) -> Any:
        """Return the results of a batch, or raise its error."""
        return out.result()

    @contextmanager
    def retrieval_context(self) -> Iterator[None]:
        """Run the tasks, as far as the caller runs them or waits for them: joblib then has nothing to poll for."""
        if self._call is not None:
            self._call.drain()
        yield


def _backend(level: int | None, limit: int | None, kwargs: dict[str, Any]) -> AmorsizeBackend:
    return AmorsizeBackend(level, limit, **kwargs)


def _number(text: str) -> int | None:
    """Return the number of an environment variable; None: it is none (OpenMP takes a list, too)."""
    return int(text) if text.isdecimal() else None


def register(*, make_default: bool = False) -> None:
    """Register the backend under the name ``"amorsize"``; importing this module does so.

    Parameters
    ----------
    make_default : bool
        True: ``Parallel`` uses it where nothing else is said.
    """
    register_parallel_backend(NAME, AmorsizeBackend, make_default=make_default)


register()

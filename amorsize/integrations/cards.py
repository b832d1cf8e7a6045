"""Cards: an engine described by a YAML file, so that one program runs here and on a cluster.

``with load("card.yaml") as engine: amorsize.execute(func, data, backend=engine)`` starts what the card says and ends it
afterwards. The keys of a card: `amorsize.integrations.card_schema`.
"""

from __future__ import annotations

import os
import shlex
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from amorsize.backends.engines import Engine, engine_of
from amorsize.integrations.card_labels import Labels
from amorsize.integrations.card_schema import Settings, named, provider_of, read, written

if TYPE_CHECKING:
    from types import TracebackType

    from amorsize.integrations.card_schema import Workers


def load(path: str | os.PathLike[str], set: Iterable[str] = ()) -> Card:  # noqa: A002
    """Return the card that a file holds, checked; nothing has been started.

    Parameters
    ----------
    path : path-like
        A YAML file.
    set : iterable of str, optional
        Overrides, ``"executors.f64.workers=4"`` each.

    Raises
    ------
    ValueError
        For a wrong key, type or label: with the key, its line, and what is allowed.
    ImportError
        If PyYAML, or the package of the card's kind, is not installed.
    OSError
        If the file cannot be read.
    """
    name = os.fspath(path)
    try:
        text = Path(name).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as exc:
        raise ValueError(f"{name}: is no text in UTF-8 ({exc})") from None
    return Card(read(text, name, (set,) if isinstance(set, str) else set))


class Card:
    """An engine described by a card, to be passed as ``backend=`` within its ``with`` block.

    Attributes
    ----------
    kind : str
        "parsl", "dask", "ray", "mpi", "executor" or "local".
    labels : tuple of str
        Its sets of workers.
    ends_items : bool
        True if ``timeout=`` is possible.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stack: ExitStack | None = None
        self._backends: dict[str, Any] = {}
        self._pid = 0
        self.kind = settings.kind
        self.labels = tuple(one.label for one in settings.executors)
        self.ends_items = settings.kind in ("ray", "local")

    def __repr__(self) -> str:
        return f"<card of {self.kind}: {', '.join(self.labels)}>"

    def __enter__(self) -> Card:
        if self._stack is not None:
            raise RuntimeError("the card is open already")
        with ExitStack() as stack:
            folder = self._settings.run_dir
            if folder is None:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="amorsize-"))
            else:
                os.makedirs(folder, exist_ok=True)
                self.write(os.path.join(folder, "card.yaml"))
            self._backends = stack.enter_context(START[self.kind](self._settings.executors, folder))
            self._stack, self._pid = stack.pop_all(), os.getpid()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        stack, self._stack, self._backends = self._stack, None, {}
        # A forked copy has none of the threads and connections that would end the engine.
        if stack is not None and self._pid == os.getpid():
            stack.__exit__(kind, exc, trace)

    def __getitem__(self, label: str) -> Any:
        """Return the backend of one label, while the card is open."""
        if label not in self.labels:
            raise KeyError(f"{label!r} is no label of the card; its labels are {', '.join(self.labels)}")
        self._check_open()
        return self._backends[label]

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the card with its overrides, as YAML."""
        Path(path).write_text(written(self._settings), encoding="utf-8")

    def _check_open(self) -> None:
        if self._stack is None:
            raise ValueError("backend: the card is not open: use `with load(path) as engine:`, and pass that engine")
        if self._pid != os.getpid():
            raise ValueError("backend: the card was opened by the process that has forked this one: open it here")


def engine_for(card: Card) -> Engine:
    """Return the engine of an open card."""
    card._check_open()
    route, backends = card._settings.label_of, card._backends
    if route is None or len(backends) == 1:
        return engine_of(next(iter(backends.values())))
    return Labels(card, {label: engine_of(backend) for label, backend in backends.items()}, route)


# -- starting and ending ----------------------------------------------------------------------------------------------

Started = Generator[dict[str, Any], None, None]


@contextmanager
def _parsl(executors: tuple[Workers, ...], folder: str) -> Started:
    from parsl.concurrent import ParslPoolExecutor
    from parsl.config import Config
    from parsl.dataflow.dflow import DataFlowKernel

    # Not parsl.load: the program may have a kernel of its own.
    kernel = DataFlowKernel(
        Config(
            executors=[_htex(one) for one in executors],
            run_dir=folder,
            strategy="simple" if any(_is_elastic(one) for one in executors) else "none",
            usage_tracking=0,
            initialize_logging=False,
        )
    )
    try:
        yield {one.label: ParslPoolExecutor(dfk=kernel, executors=[one.label]) for one in executors}
    finally:
        kernel.cleanup()


def _is_elastic(one: Workers) -> bool:
    blocks = one.provider
    return bool({"min_blocks", "max_blocks"} & {*blocks}) and blocks.get("max_blocks") != blocks.get("init_blocks", 1)


def _htex(one: Workers) -> Any:
    from parsl.executors import HighThroughputExecutor

    # Parsl starts its programs by their names.
    scripts = sysconfig.get_path("scripts")
    lines = [f"export PATH={shlex.quote(scripts)}:$PATH"]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in one.env.items()]
    given = {key: value for key, value in one.provider.items() if key != "name"}
    if "init_blocks" in given:
        given = {"max_blocks": given["init_blocks"]} | given
    provider = provider_of(one.provider)(worker_init="\n".join([*lines, one.worker_init]), **given)
    options: dict[str, Any] = {"interchange_launch_cmd": [sys.executable, os.path.join(scripts, "interchange.py")]}
    if one.provider.get("name", "local") == "local":
        # A worker that is killed is missed within seconds.
        options |= {"address": "127.0.0.1", "encrypted": False, "heartbeat_period": 2, "heartbeat_threshold": 60}
    if one.workers is not None:
        # By default Parsl starts no more of them than the node has cores.
        options |= {"max_workers_per_node": one.workers, "cores_per_worker": 1e-3}
    return HighThroughputExecutor(label=one.label, provider=provider, **(options | one.options))


@contextmanager
def _dask(executors: tuple[Workers, ...], folder: str) -> Started:
    import dask
    from distributed import Client, LocalCluster

    before = "distributed.nanny.pre-spawn-environ"
    with ExitStack() as stack:
        clients = {}
        for one in executors:
            cluster: Any = one.address
            if not cluster:
                options = {"threads_per_worker": 1, "dashboard_address": "127.0.0.1:0", "local_directory": folder}
                # The variables are there before a worker's interpreter starts.
                with _environment(one.env), dask.config.set({before: dask.config.get(before, {}) | one.env}):
                    cluster = stack.enter_context(LocalCluster(n_workers=one.workers, **(options | one.options)))
            clients[one.label] = stack.enter_context(Client(cluster, set_as_default=False))
        yield clients


@contextmanager
def _environment(env: dict[str, str]) -> Generator[None, None, None]:
    """Have variables in this process: Dask believes these rather than its settings, and leaves its own here."""
    before = dict(os.environ)
    os.environ.update(env)
    try:
        yield
    finally:
        for name in {*os.environ} - {*before}:
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def _ray(executors: tuple[Workers, ...], folder: str) -> Started:
    import ray

    (one,) = executors
    options: dict[str, Any] = {"include_dashboard": False} if not one.address else {"address": one.address}
    if one.workers is not None:
        options["num_cpus"] = one.workers
    if one.env:
        options["runtime_env"] = {"env_vars": one.env}
    ray.init(**(options | one.options))
    try:
        yield {one.label: ray}
    finally:
        ray.shutdown()


@contextmanager
def _mpi(executors: tuple[Workers, ...], folder: str) -> Started:
    from mpi4py.futures import MPIPoolExecutor

    (one,) = executors
    with MPIPoolExecutor(one.workers, **({"env": one.env} if one.env else {}), **one.options) as pool:
        yield {one.label: pool}


@contextmanager
def _executor(executors: tuple[Workers, ...], folder: str) -> Started:
    with ExitStack() as stack:
        made = {}
        for one in executors:
            options = one.options if one.workers is None else {"max_workers": one.workers} | one.options
            executor = made[one.label] = named(one.factory)(**options)
            if hasattr(executor, "__exit__"):
                stack.enter_context(executor)
            else:
                stack.callback(executor.shutdown)
        yield made


@contextmanager
def _local(executors: tuple[Workers, ...], folder: str) -> Started:
    from amorsize.api import machine
    from amorsize.integrations.card_workers import Workers as Own

    with ExitStack() as stack:
        yield {
            one.label: stack.enter_context(
                Own(one.label, one.workers or max(1, int(machine().usable_cores)), one.env, one.worker_init)
            )
            for one in executors
        }


START: Final[dict[str, Callable[[tuple[Workers, ...], str], Any]]] = {
    "parsl": _parsl,
    "dask": _dask,
    "ray": _ray,
    "mpi": _mpi,
    "executor": _executor,
    "local": _local,
}

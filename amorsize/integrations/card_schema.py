"""The schema of a card, and its only check: everything is refused here, before anything starts.

A card is YAML. Its values come from a file or from overrides (``a.b=c``), and each error says which key, in which line,
and what is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final, NoReturn

from amorsize.hints import missing
from amorsize.integrations.card_yaml import LINE, Mapping, composed, dumped, listed, meant, override

KINDS: Final = ("parsl", "dask", "ray", "mpi", "executor", "local")
TOP: Final = ("kind", "executors", "route", "run_dir")
# The settings of a set of workers, with the kinds that know them. ``local`` takes the cards of Parsl.
SETTINGS: Final[dict[str, tuple[str, ...]]] = {
    "workers": KINDS,
    "env": ("parsl", "dask", "ray", "mpi", "local"),
    "worker_init": ("parsl", "local"),
    "provider": ("parsl", "local"),
    "address": ("dask", "ray"),
    "factory": ("executor",),
    "options": KINDS,
}
# Kinds that have one set of workers per process.
ONE_LABEL: Final = ("ray", "mpi")
# The package of a kind, and what ``options`` are the arguments of.
NEEDS: Final = {"parsl": "parsl", "dask": "distributed", "ray": "ray", "mpi": "mpi4py"}
TAKES_OPTIONS: Final = {
    "parsl": "parsl.executors:HighThroughputExecutor",
    "dask": "distributed:LocalCluster",
    "ray": "ray:init",
    "mpi": "mpi4py.futures:MPIPoolExecutor",
}
# Arguments that other keys of the card stand for.
TAKEN: Final = {
    "parsl": {"label": "its label", "provider": "provider", "max_workers_per_node": "workers"},
    "dask": {"n_workers": "workers"},
    "ray": {"num_cpus": "workers", "address": "address"},
    "mpi": {"max_workers": "workers", "env": "env"},
    "executor": {"max_workers": "workers"},
    "provider": {"worker_init": "worker_init"},
}
# Such a name is a file's name, too, and no executor of Parsl's own ("_parsl_internal").
LABEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Workers:
    """One set of workers: a label of the card."""

    label: str
    workers: int | None = None
    env: dict[str, str] = field(default_factory=dict)
    worker_init: str = ""
    provider: dict[str, Any] = field(default_factory=dict)
    address: str = ""
    factory: str = ""
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    """A card whose values are all valid.

    Attributes
    ----------
    kind : str
    executors : tuple of Workers
        The first one has the items that go to no other.
    route : str or None
        ``module:function``, or a key of the items.
    label_of : callable or None
        What ``route`` names: called with an item, it returns a label, or None for the first.
    run_dir : str or None
    """

    kind: str
    executors: tuple[Workers, ...]
    route: str | None = None
    label_of: Callable[[Any], Any] | None = None
    run_dir: str | None = None


def written(settings: Settings) -> str:
    """Return the card as YAML, which `read` takes again; what is not set is left out."""
    executors = {
        one.label: {key: value for key in SETTINGS if (value := getattr(one, key)) not in (None, "", {})}
        for one in settings.executors
    }
    card = {"kind": settings.kind, "run_dir": settings.run_dir, "executors": executors, "route": settings.route}
    return dumped({key: value for key, value in card.items() if value is not None})


def read(text: str, name: str, overrides: Iterable[str] = ()) -> Settings:
    """Return the settings of a card.

    Parameters
    ----------
    text : str
        The card.
    name : str
        Name of its file, for errors.
    overrides : iterable of str
        ``a.b=c`` each; the value is YAML, under ``env`` it is text.

    Raises
    ------
    ValueError
        For a wrong key, type or label: with the key, its line, and what is allowed.
    ImportError
        If the package of ``kind`` is not installed.
    """
    root = composed(text, name + LINE)
    if root is None:
        raise ValueError(f"{name}: is empty; a card begins with `kind:`, one of {listed(KINDS)}")
    for change in overrides:
        override(root, change)
    card = Mapping(root, "")
    kind = card.text("kind")
    if kind is None:
        card.refuse("kind", f"is missing; allowed are {listed(KINDS)}")
    if kind not in KINDS:
        card.refuse("kind", f"{kind!r} is no kind of engine; allowed are {listed(KINDS)}{meant(kind, KINDS)}")
    shared = tuple(key for key, kinds in SETTINGS.items() if kind in kinds)
    _only(card, (*TOP, *shared), kind)
    package = NEEDS.get(kind)
    if package is not None and find_spec(package) is None:
        raise ImportError(missing(f"{name}: kind: {kind}", package, kind))
    common = _settings(card, kind, {})
    executors = _executors(card, kind, shared, common)
    if kind == "executor":
        for one in executors:
            if not one.factory:
                card.refuse("kind", "executor needs `factory: module:callable`, such as loky:get_reusable_executor")
    route = card.text("route")
    label_of = None if route is None else _label_of(route, card)
    return Settings(kind, executors, route, label_of, card.text("run_dir"))


def _executors(card: Mapping, kind: str, allowed: tuple[str, ...], common: dict[str, Any]) -> tuple[Workers, ...]:
    labels = card.mapping("executors")
    if labels is None:
        return (Workers(kind, **common),)
    if not labels.values:
        card.refuse("executors", "needs one label or more, as in `executors: {all: {workers: 2}}`")
    if kind in ONE_LABEL and len(labels.values) > 1:
        card.refuse(
            "executors", f"kind: {kind} has one set of workers in a process; keep one of {listed(labels.values)}"
        )
    made = []
    for label in labels.values:
        if not LABEL.fullmatch(label):
            labels.refuse(label, "a label begins with a letter or digit, and has letters, digits, _, - and . only")
        own = labels.mapping(label)
        if own is not None:
            _only(own, allowed, kind)
        made.append(Workers(label, **(common if own is None else _settings(own, kind, common))))
    return tuple(made)


def _settings(given: Mapping, kind: str, common: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of workers that stand in a mapping of the card, with the common ones that it leaves out."""
    own: dict[str, Any] = {
        "workers": given.whole("workers"),
        "env": given.texts("env"),
        "worker_init": given.text("worker_init"),
        "provider": given.plain("provider"),
        "address": given.text("address"),
        "factory": given.text("factory"),
        "options": given.plain("options"),
    }
    found = dict(common)
    for key, value in own.items():
        if value is not None:
            found[key] = found.get(key, {}) | value if isinstance(value, dict) else value
    if "address" in found and "workers" in found:
        given.refuse("workers", "a cluster that has an address has its workers already: leave one of the two out")
    provider, options = given.mapping("provider"), given.mapping("options")
    if provider is not None and kind == "parsl":
        _check_arguments(provider_of(found["provider"], provider), provider, TAKEN["provider"], also=("name",))
    factory = found.get("factory")
    if factory is not None:
        named(factory, partial(given.refuse, "factory"))
    if options is not None and (target := TAKES_OPTIONS.get(kind, factory)) is not None:
        _check_arguments(named(target, partial(given.refuse, "options")), options, TAKEN[kind])
    return found


def _only(given: Mapping, allowed: tuple[str, ...], kind: str) -> None:
    """Refuse other keys."""
    for key in given.values:
        if key not in allowed:
            kinds = SETTINGS.get(key)
            of = "" if kinds is None else f" (it is one of kind {listed(kinds)})"
            text = f"is no key of kind: {kind}{of}; allowed are {listed(allowed)}{meant(key, allowed)}"
            if key in TOP and given.path:
                text = f"stands at the top of a card; allowed here are {listed(allowed)}"
            given.refuse(key, text)


# -- what a card names ------------------------------------------------------------------------------------------------


def _fail(text: str) -> NoReturn:
    raise ValueError(text)


def named(spec: str, refuse: Callable[[str], NoReturn] = _fail) -> Any:
    """Return the object that ``module:name`` names; ``refuse`` is told what is wrong with it."""
    module, _, path = spec.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), *path.split("."))):
        refuse(f"must be module:name, not {spec!r}")
    try:
        found: Any = import_module(module)
    except ModuleNotFoundError as exc:
        # A module that is there may miss another one.
        if exc.name is None or not f"{module}.".startswith(f"{exc.name}."):
            raise
        refuse(f"there is no module {exc.name!r} on sys.path")
    for name in path.split("."):
        if not hasattr(found, name):
            refuse(f"{getattr(found, '__name__', module)} has no {name!r}")
        found = getattr(found, name)
    if not callable(found):
        refuse(f"{spec} cannot be called, its type is {type(found).__name__}")
    return found


def provider_of(given: dict[str, Any], within: Mapping | None = None) -> Any:
    """Return the class of Parsl's provider that ``provider.name`` names; without a name, the local one."""
    import parsl.providers as providers

    names = {name.removesuffix("Provider").lower(): name for name in providers.__all__}
    name = given.get("name", "local")
    if name not in names and within is not None:
        within.refuse("name", f"{name!r} is no provider of Parsl; allowed are {listed(names)}{meant(str(name), names)}")
    return getattr(providers, names[name])


def _check_arguments(target: Any, given: Mapping, taken: dict[str, str], also: tuple[str, ...] = ()) -> None:
    """Refuse arguments that a class or function does not have."""
    from inspect import Parameter, signature

    try:
        parameters = signature(target).parameters.values()
    except (TypeError, ValueError):
        return
    takes_any = any(one.kind is Parameter.VAR_KEYWORD for one in parameters)
    allowed = [one.name for one in parameters if one.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)]
    allowed = [*also, *(name for name in allowed if name not in taken)]
    for key in given.values:
        if key in taken:
            given.refuse(key, f"the card has {taken[key]} for it")
        if key not in allowed and not takes_any:
            what = getattr(target, "__name__", target)
            given.refuse(key, f"is no argument of {what}; allowed are {listed(allowed)}{meant(key, allowed)}")


def _label_of(route: str, card: Mapping) -> Callable[[Any], Any]:
    if ":" in route:
        found: Callable[[Any], Any] = named(route, partial(card.refuse, "route"))
        return found

    def by_key(item: Any) -> Any:
        return item.get(route) if isinstance(item, dict) else getattr(item, route, None)

    return by_key

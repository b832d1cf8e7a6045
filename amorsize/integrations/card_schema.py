"""The schema of a card, and its only check: everything is refused here, before anything starts.

A card is YAML. Its values come from a file or from overrides (``a.b=c``), and each error says which key, in which line,
and what is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final, NoReturn

try:
    import yaml
except ImportError:
    raise ImportError("cards are read with PyYAML: pip install 'amorsize[cards]'") from None

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
# Stands at the end of the name of a YAML text that comes from a file.
LINE: Final = ", line "


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
    text: str = yaml.safe_dump(
        {key: value for key, value in card.items() if value is not None}, sort_keys=False, allow_unicode=True
    )
    return text


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
    root = _composed(text, name + LINE)
    if root is None:
        raise ValueError(f"{name}: is empty; a card begins with `kind:`, one of {_list(KINDS)}")
    for override in overrides:
        _override(root, override)
    card = _Mapping(root, "")
    kind = card.text("kind", required=True)
    if kind not in KINDS:
        card.refuse("kind", f"{kind!r} is no kind of engine; allowed are {_list(KINDS)}{_meant(kind, KINDS)}")
    shared = tuple(key for key, kinds in SETTINGS.items() if kind in kinds)
    card.only((*TOP, *shared), kind)
    package = NEEDS.get(kind)
    if package is not None and find_spec(package) is None:
        raise ImportError(f"{name}: kind: {kind} needs {package}: pip install 'amorsize[{kind}]'")
    common = _settings(card, kind, {})
    executors = _executors(card, kind, shared, common)
    if kind == "executor":
        for one in executors:
            if not one.factory:
                card.refuse("kind", "executor needs `factory: module:callable`, such as loky:get_reusable_executor")
    route = card.text("route")
    label_of = None if route is None else _label_of(route, card)
    return Settings(kind, executors, route, label_of, card.text("run_dir"))


def _executors(card: _Mapping, kind: str, allowed: tuple[str, ...], common: dict[str, Any]) -> tuple[Workers, ...]:
    labels = card.mapping("executors")
    if labels is None:
        return (Workers(kind, **common),)
    if not labels.values:
        card.refuse("executors", "needs one label or more, as in `executors: {all: {workers: 2}}`")
    if kind in ONE_LABEL and len(labels.values) > 1:
        card.refuse(
            "executors", f"kind: {kind} has one set of workers in a process; keep one of {_list(labels.values)}"
        )
    made = []
    for label in labels.values:
        if not LABEL.fullmatch(label):
            labels.refuse(label, "a label begins with a letter or digit, and has letters, digits, _, - and . only")
        own = labels.mapping(label)
        if own is not None:
            own.only(allowed, kind)
        made.append(Workers(label, **(common if own is None else _settings(own, kind, common))))
    return tuple(made)


def _settings(given: _Mapping, kind: str, common: dict[str, Any]) -> dict[str, Any]:
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


def provider_of(given: dict[str, Any], within: _Mapping | None = None) -> Any:
    """Return the class of Parsl's provider that ``provider.name`` names; without a name, the local one."""
    import parsl.providers as providers

    names = {name.removesuffix("Provider").lower(): name for name in providers.__all__}
    name = given.get("name", "local")
    if name not in names and within is not None:
        within.refuse("name", f"{name!r} is no provider of Parsl; allowed are {_list(names)}{_meant(str(name), names)}")
    return getattr(providers, names[name])


def _check_arguments(target: Any, given: _Mapping, taken: dict[str, str], also: tuple[str, ...] = ()) -> None:
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
            given.refuse(key, f"is no argument of {what}; allowed are {_list(allowed)}{_meant(key, allowed)}")


def _label_of(route: str, card: _Mapping) -> Callable[[Any], Any]:
    if ":" in route:
        found: Callable[[Any], Any] = named(route, partial(card.refuse, "route"))
        return found

    def by_key(item: Any) -> Any:
        return item.get(route) if isinstance(item, dict) else getattr(item, route, None)

    return by_key


# -- YAML with its lines ----------------------------------------------------------------------------------------------


class _Mapping:
    """A mapping of the card, whose keys are text and stand there once."""

    def __init__(self, node: Any, path: str) -> None:
        self.node = node
        self.path = path
        # Each key's own node and that of its value.
        self.values: dict[str, tuple[Any, Any]] = {}
        if not isinstance(node, yaml.MappingNode):
            _refuse(node, path or "the card", f"must be a mapping of keys to values, not {_kind(node)}")
        seen: dict[str, Any] = {}
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                _refuse(key, self._named(key.value), f"stands there twice, first at {_at(seen[key.value])}")
            seen[key.value] = key
        try:
            _Loader("").flatten_mapping(node)
        except yaml.YAMLError as exc:
            _refuse(node, path or "the card", " ".join(str(exc).split()))
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag != _TEXT:
                _refuse(key, self._named(getattr(key, "value", "?")), f"a key must be text, not {_kind(key)}: quote it")
            # What is merged comes first, and gives way.
            self.values[key.value] = key, value
        node.value = list(self.values.values())

    def _named(self, key: object) -> str:
        return f"{self.path}.{key}" if self.path else str(key)

    def refuse(self, key: str, text: str) -> NoReturn:
        """Raise for a key, or for the mapping if it lacks that key."""
        _refuse(self.values.get(key, (self.node,))[0], self._named(key), text)

    def only(self, allowed: tuple[str, ...], kind: str) -> None:
        """Refuse other keys."""
        for key in self.values:
            if key not in allowed:
                kinds = SETTINGS.get(key)
                of = "" if kinds is None else f" (it is one of kind {_list(kinds)})"
                text = f"is no key of kind: {kind}{of}; allowed are {_list(allowed)}{_meant(key, allowed)}"
                if key in TOP and self.path:
                    text = f"stands at the top of a card; allowed here are {_list(allowed)}"
                self.refuse(key, text)

    def _value(self, key: str) -> Any:
        """Return the node of a value; None if there is none, or nothing after the colon."""
        node = self.values.get(key, (None, None))[1]
        return None if node is None or node.tag == _NOTHING else node

    def text(self, key: str, *, required: bool = False) -> Any:
        """Return a value that is text."""
        node = self._value(key)
        if node is None:
            if required:
                self.refuse(key, f"is missing; allowed are {_list(KINDS)}")
            return None
        if node.tag != _TEXT:
            self.refuse(key, f"must be text, not {_kind(node)}")
        return node.value

    def whole(self, key: str) -> int | None:
        """Return a value that is a whole number, 1 or more."""
        node = self._value(key)
        if node is None:
            return None
        value = _built(node) if node.tag == _WHOLE else None
        if value is None or value < 1:
            self.refuse(key, f"must be a whole number, 1 or more, not {_kind(node)}")
        return int(value)

    def mapping(self, key: str) -> _Mapping | None:
        """Return a value that is a mapping."""
        node = self._value(key)
        return None if node is None else _Mapping(node, self._named(key))

    def texts(self, key: str) -> dict[str, str] | None:
        """Return a mapping of text to text."""
        found = self.mapping(key)
        if found is None:
            return None
        for name, (_, node) in found.values.items():
            if node.tag != _TEXT:
                found.refuse(name, f'must be text, not {_kind(node)}: quote it, as in {name}: "{node.value or ""}"')
            if not name or "=" in name or "\0" in name + node.value:
                found.refuse(name, "is no name of an environment variable, or its value holds a zero byte")
        return {name: node.value for name, (_, node) in found.values.items()}

    def plain(self, key: str) -> dict[str, Any] | None:
        """Return a mapping of text to anything."""
        found = self.mapping(key)
        try:
            return None if found is None else {name: _built(node) for name, (_, node) in found.values.items()}
        except yaml.YAMLError as exc:
            self.refuse(key, " ".join(str(exc).split()))


_TEXT, _WHOLE, _REAL, _NOTHING = (f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "null"))


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML without numbers to the base of 60: 04:00:00 is a text."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        tag = super().resolve(kind, value, implicit)
        return _TEXT if kind is yaml.ScalarNode and ":" in value and tag in (_WHOLE, _REAL) else tag


def _built(node: Any) -> Any:
    return _Loader("").construct_document(node)


def _composed(text: str, name: str) -> Any:
    try:
        loader = _Loader(text)
        loader.name = name
        return loader.get_single_node()
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        where = name.removesuffix(LINE) if mark is None else f"{name}{mark.line + 1 if name.endswith(LINE) else ''}"
        raise ValueError(f"{where}: is no YAML: {getattr(exc, 'problem', None) or exc}") from None


def _override(root: Any, text: str) -> None:
    """Put the value of ``a.b=c`` into the tree."""
    if not isinstance(text, str):
        raise TypeError(f"set: must be texts like 'a.b=c', not {type(text).__name__}")
    path, equals, value = text.partition("=")
    keys = [key.strip() for key in path.split(".")]
    if not equals or not all(keys):
        raise ValueError(f"set {text!r}: must be KEY=VALUE, or KEY.KEY=VALUE, as in executors.f64.workers=2")
    name = f"set {text!r}"
    new = _composed(value, name)
    if keys[-2:-1] == ["env"] or new is None:
        new = yaml.ScalarNode(_TEXT, value, *[yaml.Mark(name, 0, 0, 0, None, None)] * 2)
    node = root
    for depth, key in enumerate(keys):
        found = _Mapping(node, ".".join(keys[:depth])).values
        if depth == 1 and keys[0] == "executors" and key not in found:
            _refuse(new, ".".join(keys[:2]), f"is no label of the card; its labels are {_list(found)}")
        here = yaml.ScalarNode(_TEXT, key, new.start_mark, new.end_mark)
        if depth < len(keys) - 1:
            child = found.get(key, (None, None))[1]
            if child is not None and child.tag != _NOTHING:
                node = child
                continue
            child = yaml.MappingNode("tag:yaml.org,2002:map", [], new.start_mark, new.end_mark)
        else:
            child = new
        node.value = [pair for pair in node.value if pair[0].value != key] + [(here, child)]
        node = child


def _refuse(node: Any, key: str, text: str) -> NoReturn:
    raise ValueError(f"{_at(node)}: {key}: {text}")


def _at(node: Any) -> str:
    mark = node.start_mark
    return f"{mark.name}{mark.line + 1}" if mark.name.endswith(LINE) else str(mark.name)


def _kind(node: Any) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    return f"{node.value!r} ({node.tag.rpartition(':')[2]})"


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)


def _meant(given: str, allowed: Iterable[str]) -> str:
    close = get_close_matches(given, list(allowed), 1)
    return f" (did you mean {close[0]}?)" if close else ""

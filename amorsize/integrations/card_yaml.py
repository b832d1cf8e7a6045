"""YAML of a card, with the line of each value: for errors that say where it stands."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, Final, NoReturn

from amorsize.hints import Needs

with Needs("amorsize.integrations.cards", "yaml", "cards", "PyYAML"):
    import yaml

# Stands at the end of the name of a YAML text that comes from a file.
LINE: Final = ", line "


def dumped(data: Any) -> str:
    """Return plain data as YAML."""
    text: str = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    return text


class Mapping:
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

    def _value(self, key: str) -> Any:
        """Return the node of a value; None if there is none, or nothing after the colon."""
        node = self.values.get(key, (None, None))[1]
        return None if node is None or node.tag == _NOTHING else node

    def text(self, key: str) -> Any:
        """Return a value that is text."""
        node = self._value(key)
        if node is None:
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

    def mapping(self, key: str) -> Mapping | None:
        """Return a value that is a mapping."""
        node = self._value(key)
        return None if node is None else Mapping(node, self._named(key))

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


def composed(text: str, name: str) -> Any:
    """Return the tree of a YAML text; ``name`` stands before the line in errors."""
    try:
        loader = _Loader(text)
        loader.name = name
        return loader.get_single_node()
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        where = name.removesuffix(LINE) if mark is None else f"{name}{mark.line + 1 if name.endswith(LINE) else ''}"
        raise ValueError(f"{where}: is no YAML: {getattr(exc, 'problem', None) or exc}") from None


def override(root: Any, text: str) -> None:
    """Put the value of ``a.b=c`` into the tree."""
    if not isinstance(text, str):
        raise TypeError(f"set: must be texts like 'a.b=c', not {type(text).__name__}")
    path, equals, value = text.partition("=")
    keys = [key.strip() for key in path.split(".")]
    if not equals or not all(keys):
        raise ValueError(f"set {text!r}: must be KEY=VALUE, or KEY.KEY=VALUE, as in executors.f64.workers=2")
    name = f"set {text!r}"
    new = composed(value, name)
    if keys[-2:-1] == ["env"] or new is None:
        new = yaml.ScalarNode(_TEXT, value, *[yaml.Mark(name, 0, 0, 0, None, None)] * 2)
    node = root
    for depth, key in enumerate(keys):
        found = Mapping(node, ".".join(keys[:depth])).values
        if depth == 1 and keys[0] == "executors" and key not in found:
            _refuse(new, ".".join(keys[:2]), f"is no label of the card; its labels are {listed(found)}")
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


def listed(names: Iterable[str]) -> str:
    """Return names with commas between them."""
    return ", ".join(names)


def meant(given: str, allowed: Iterable[str]) -> str:
    """Return a guess at what was meant; empty if nothing is close."""
    close = get_close_matches(given, list(allowed), 1)
    return f" (did you mean {close[0]}?)" if close else ""

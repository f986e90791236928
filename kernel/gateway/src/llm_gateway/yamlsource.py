"""Reads YAML and remembers on which line each key stands."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias

import yaml

Path: TypeAlias = tuple[str | int, ...]


class SourceError(Exception):
    """The text is no YAML, or says one thing twice; `line` counts from 1."""

    def __init__(self, path: Path, line: int | None, message: str) -> None:
        super().__init__(message)
        self.path, self.line, self.message = path, line, message


@dataclass(slots=True)
class Source:
    """`data` is the document, `lines` maps the path of a value to its line."""

    data: dict[str, Any] = field(default_factory=dict)
    lines: dict[Path, int] = field(default_factory=dict)

    def line(self, path: Path) -> int | None:
        """The line of `path`, or of what encloses it most closely."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return None


def read(text: str) -> Source:
    """Parse one document whose top is a mapping.

    Raises:
        SourceError: it is not one.
    """
    source = _parsed(text)
    return Source(deepcopy(source.data), source.lines)


@lru_cache(maxsize=1)
def _parsed(text: str) -> Source:
    """The last one is kept: which plugins load is read from it before all the rest is."""
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        source = Source()
        if root is None:
            return source
        data = _build(loader, root, (), source.lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        raise SourceError((), line, f"not YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise SourceError((), None, f"not YAML: {error}") from error
    finally:
        loader.dispose()
    if data is not None and not isinstance(data, Mapping):
        raise SourceError((), 1, "the configuration is a mapping of sections")
    source.data = dict(data or {})
    return source


def _build(loader: yaml.SafeLoader, node: yaml.Node, path: Path, lines: dict[Path, int]) -> Any:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        return [
            _build(loader, each, (*path, index), lines) for index, each in enumerate(node.value)
        ]
    if not isinstance(node, yaml.MappingNode):
        return loader.construct_object(node)
    own = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
    loader.flatten_mapping(node)  # puts what `<<` merges first, so that own keys win
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
        line = key_node.start_mark.line + 1
        if key is None:
            raise SourceError(path, line, "a key is a plain word")
        if own.count(key) > 1 and (*path, key) in lines:
            raise SourceError((*path, key), line, f"the key {key!r} stands here twice")
        lines[(*path, key)] = line
        result[key] = _build(loader, value_node, (*path, key), lines)
    return result

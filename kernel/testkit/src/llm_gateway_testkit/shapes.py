"""Closed shapes of JSON, to refuse what a strict vendor refuses: unknown, missing, mistyped.

A shape is a type (or a tuple of types), a list of one shape, an `Obj`, a `Tagged` object, a
`Number` range, a set of words, a `Text` pattern, or `Any` of several shapes.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any as Anything
from typing import TypeAlias

Shape: TypeAlias = Anything


@dataclass(frozen=True, slots=True)
class Obj:
    """An object with these members and no other."""

    members: Mapping[str, Shape]
    required: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Tagged:
    """An object whose member `tag` says which of `kinds` it is."""

    tag: str
    kinds: Mapping[str, Obj]


@dataclass(frozen=True, slots=True)
class Number:
    low: float
    high: float
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Text:
    pattern: str


@dataclass(frozen=True, slots=True)
class Any:
    """The first shape that fits; what is wrong is told of the last."""

    shapes: Sequence[Shape]


@dataclass(frozen=True, slots=True)
class Fault:
    """`kind` is ``unknown``, ``missing`` or ``invalid``; `path` leads to the member."""

    kind: str
    path: tuple[str | int, ...] = field(default=())

    @property
    def where(self) -> str:
        return ".".join(str(each) for each in self.path)

    def below(self, step: str | int) -> "Fault":
        return Fault(self.kind, (step, *self.path))


def fault(value: object, shape: Shape) -> Fault | None:
    """What is wrong with `value`, or None."""
    if isinstance(shape, Obj):
        return _object(value, shape)
    if isinstance(shape, Tagged):
        return _tagged(value, shape)
    if isinstance(shape, list):
        return _list(value, shape[0])
    if isinstance(shape, Any):
        found: Fault | None = Fault("invalid")
        for each in shape.shapes:
            if (found := fault(value, each)) is None:
                return None
        return found
    return None if _fits(value, shape) else Fault("invalid")


def _object(value: object, shape: Obj) -> Fault | None:
    if not isinstance(value, dict):
        return Fault("invalid")
    for name in value:
        if name not in shape.members:
            return Fault("unknown", (name,))
    for name in shape.required:
        if name not in value:
            return Fault("missing", (name,))
    for name, each in value.items():
        if found := fault(each, shape.members[name]):
            return found.below(name)
    return None


def _tagged(value: object, shape: Tagged) -> Fault | None:
    if not isinstance(value, dict):
        return Fault("invalid")
    kind = shape.kinds.get(value.get(shape.tag, ""))
    return Fault("invalid", (shape.tag,)) if kind is None else _object(value, kind)


def _list(value: object, shape: Shape) -> Fault | None:
    if not isinstance(value, list):
        return Fault("invalid")
    for at, each in enumerate(value):
        if found := fault(each, shape):
            return found.below(at)
    return None


def _fits(value: object, shape: Shape) -> bool:
    if isinstance(shape, Number):
        kinds = (int,) if shape.whole else (int, float)
        fits = isinstance(value, kinds) and not isinstance(value, bool)
        return fits and shape.low <= value <= shape.high  # type: ignore[operator]  # a number
    if isinstance(shape, Text):
        return isinstance(value, str) and re.fullmatch(shape.pattern, value) is not None
    if isinstance(shape, frozenset):
        return isinstance(value, (str, int)) and value in shape
    if shape is object:
        return True
    kinds = shape if isinstance(shape, tuple) else (shape,)
    return isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))

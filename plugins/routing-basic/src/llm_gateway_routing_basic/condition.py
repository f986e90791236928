"""Conditions as plain functions: all that can be wrong with one is found when it is made.

Whatever compares a field that is absent is false, ``!=`` too; only ``not`` turns that round.
"""

import difflib
import re
import time
from collections.abc import Callable, Container, Iterator
from typing import Any, TypeAlias

import llm_gateway_api as gw
import re2

from llm_gateway_routing_basic.language import (
    Combination,
    Comparison,
    ConditionError,
    Literal,
    Node,
    Operand,
    Path,
    parsed,
)

Test: TypeAlias = Callable[[gw.Asked], bool]
Scalar: TypeAlias = str | float | bool
Read: TypeAlias = Callable[[gw.Asked], Scalar | tuple[str, ...] | None]
TAGS_HEADER = "x-gateway-tags"


def _tags(asked: gw.Asked) -> tuple[str, ...]:
    listed = asked.arrival.headers.get(TAGS_HEADER, "").split(",")
    return tuple(tag.strip() for tag in listed if tag.strip())


def _clock(asked: gw.Asked) -> str:
    return time.strftime("%H:%M", time.gmtime(asked.at))


def _weekday(asked: gw.Asked) -> str:
    return _WEEKDAYS[time.gmtime(asked.at).tm_wday]


_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
_FIELDS: dict[str, tuple[type, Read]] = {
    "model": (str, lambda asked: asked.model),
    "tenant": (str, lambda asked: asked.arrival.principal.tenant),
    "key": (str, lambda asked: asked.arrival.principal.key_id),
    "tags": (tuple, _tags),
    "prompt_size": (float, lambda asked: asked.prompt_bytes),
    "tools": (bool, lambda asked: asked.tools),
    "images": (bool, lambda asked: asked.images),
    "region": (str, lambda asked: asked.region),
    "operation": (str, lambda asked: asked.operation),
    "stream": (bool, lambda asked: asked.stream),
    "time": (str, _clock),
    "weekday": (str, _weekday),
}
FIELDS = (*_FIELDS, "headers")
_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}
_NAMES = {str: "a text", float: "a number", bool: "true or false", tuple: "a list"}


# Members of `Asked` that fields are read of; those that are not here bear its name.
_READ = {
    "tenant": "arrival",
    "key": "arrival",
    "tags": "arrival",
    "headers": "arrival",
    "prompt_size": "prompt_bytes",
    "time": "at",
    "weekday": "at",
}


def reads(text: str) -> frozenset[str]:
    """The members of `Asked` on which the condition `text` depends."""
    return frozenset(_READ.get(name, name) for name in _names(parsed(text)))


def _names(node: Node) -> Iterator[str]:
    if isinstance(node, Combination):
        for part in node.parts:
            yield from _names(part)
        return
    for operand in (node.left, node.right):
        if isinstance(operand, Path):
            yield operand.name


def compiled(text: str) -> Test:
    """Return the test that `text` means, or raise `ConditionError` with line and column."""
    return _test(parsed(text))


def _test(node: Node) -> Test:
    if isinstance(node, Comparison):
        return _comparison(node)
    return _combination(node)


def _combination(node: Combination) -> Test:
    tests = tuple(_test(part) for part in node.parts)
    first = tests[0]
    if node.word == "not":
        return lambda asked: not first(asked)
    if len(tests) == 2:
        second = tests[1]
        if node.word == "and":
            return lambda asked: first(asked) and second(asked)
        return lambda asked: first(asked) or second(asked)
    if node.word == "and":
        return lambda asked: all(test(asked) for test in tests)
    return lambda asked: any(test(asked) for test in tests)


def _comparison(node: Comparison) -> Test:
    if node.operator is None:
        return _presence(node.left)
    assert node.right is not None
    if node.operator == "in" and isinstance(node.left, Literal) and isinstance(node.right, Path):
        return _contains(node, node.right, node.left)  # 'batch' in tags
    if not isinstance(node.left, Path):
        raise node.left.at.error("a comparison starts with a field, such as model")
    if not isinstance(node.right, Literal):
        raise node.right.at.error("compare with a text, a number or a list")
    return _OPERATORS[node.operator](node, node.left, node.right)


def _presence(operand: Operand) -> Test:
    if not isinstance(operand, Path):
        raise operand.at.error("a value alone is no condition; name a field and an operator")
    _, read = _field(operand)
    return lambda asked: bool(read(asked))


def _field(path: Path) -> tuple[type, Read]:
    if path.name == "headers":
        if not path.key:
            raise path.at.error("name the header: headers.x-name or headers['x-name']")
        header = path.key.lower()
        return str, lambda asked: asked.arrival.headers.get(header)
    if path.key is not None or path.name not in _FIELDS:
        wrong = path.name if path.key is None else f"{path.name}.{path.key}"
        near = difflib.get_close_matches(path.name, FIELDS, 1)
        mend = f"did you mean {near[0]}?" if near else f"there are {', '.join(FIELDS)}"
        raise path.at.error(f"no field is called {wrong}; {mend}")
    return _FIELDS[path.name]


def _equality(node: Comparison, path: Path, literal: Literal) -> Test:
    kind, read = _field(path)
    value = _of_kind(kind, literal)
    if isinstance(value, tuple):
        wanted = frozenset(value)
        if node.operator == "==":
            return lambda asked: frozenset(_many(read, asked)) == wanted
        return lambda asked: frozenset(_many(read, asked)) != wanted
    if node.operator == "==":
        return lambda asked: read(asked) == value
    return lambda asked: read(asked) not in (None, value)


def _order(node: Comparison, path: Path, literal: Literal) -> Test:
    kind, read = _field(path)
    if kind is not float and path.name != "time":
        raise node.at.error(f"{node.operator} compares numbers and times, and {path.name} is none")
    bound = _of_kind(kind, literal)
    if path.name == "time" and not _TIME.fullmatch(str(bound)):
        raise literal.at.error("a time is written '09:30', from '00:00' to '23:59' in UTC")
    compare = _ORDERS[node.operator or ""]

    def test(asked: gw.Asked) -> bool:
        value = read(asked)
        return value is not None and compare(value, bound)

    return test


def _membership(node: Comparison, path: Path, literal: Literal) -> Test:
    kind, read = _field(path)
    if not isinstance(literal.value, tuple):
        raise literal.at.error("in wants a list: ['a', 'b']")
    wanted: Container[Scalar] = frozenset(literal.value)
    if kind is tuple:
        return lambda asked: any(tag in wanted for tag in _many(read, asked))
    for value in literal.value:
        _of_kind(kind, Literal(literal.at, value))
    return lambda asked: read(asked) in wanted


def _contains(node: Comparison, path: Path, literal: Literal) -> Test:
    kind, read = _text_or_tags(node, path)
    part = _of_kind(str, literal)
    assert isinstance(part, str)
    if kind is tuple:
        return lambda asked: part in _many(read, asked)
    return lambda asked: read(asked) is not None and part in _text(read, asked)


def _start(node: Comparison, path: Path, literal: Literal) -> Test:
    return _any_text(node, path, literal, str.startswith)


def _end(node: Comparison, path: Path, literal: Literal) -> Test:
    return _any_text(node, path, literal, str.endswith)


def _any_text(
    node: Comparison, path: Path, literal: Literal, holds: Callable[[str, str], bool]
) -> Test:
    kind, read = _text_or_tags(node, path)
    part = _of_kind(str, literal)
    assert isinstance(part, str)
    if kind is tuple:
        return lambda asked: any(holds(tag, part) for tag in _many(read, asked))
    return lambda asked: read(asked) is not None and holds(_text(read, asked), part)


def _match(node: Comparison, path: Path, literal: Literal) -> Test:
    """RE2 runs in time linear to its text, whatever the pattern."""
    kind, read = _text_or_tags(node, path)
    pattern = _of_kind(str, literal)
    options = re2.Options()
    options.log_errors = False
    try:
        search = re2.compile(pattern, options).search
    except re2.error as error:
        raise literal.at.error(f"the regular expression is not valid: {_reason(error)}") from error
    if kind is tuple:
        return lambda asked: any(search(tag) is not None for tag in _many(read, asked))
    return lambda asked: read(asked) is not None and search(_text(read, asked)) is not None


def _reason(error: Exception) -> str:
    reason = error.args[0] if error.args else ""
    return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)


def _text_or_tags(node: Comparison, path: Path) -> tuple[type, Read]:
    kind, read = _field(path)
    if kind not in (str, tuple):
        raise node.at.error(f"{node.operator} compares texts, and {path.name} is none")
    return kind, read


def _of_kind(kind: type, literal: Literal) -> Scalar | tuple[Scalar, ...]:
    if not isinstance(literal.value, kind):
        raise literal.at.error(f"expected {_NAMES[kind]} here")
    return literal.value


def _text(read: Read, asked: gw.Asked) -> str:
    value = read(asked)
    return value if isinstance(value, str) else ""


def _many(read: Read, asked: gw.Asked) -> tuple[str, ...]:
    value = read(asked)
    return value if isinstance(value, tuple) else ()


_OPERATORS: dict[str, Callable[[Comparison, Path, Literal], Test]] = {
    "==": _equality,
    "!=": _equality,
    "<": _order,
    "<=": _order,
    ">": _order,
    ">=": _order,
    "in": _membership,
    "contains": _contains,
    "starts_with": _start,
    "ends_with": _end,
    "matches": _match,
}

__all__ = ["FIELDS", "ConditionError", "Test", "compiled", "reads"]

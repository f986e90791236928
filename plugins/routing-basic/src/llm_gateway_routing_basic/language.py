"""The grammar of conditions, and the tree that is made of a text. Knows no field.

model starts_with 'claude' and not (prompt_size > 100000 or 'batch' in tags)
"""

from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedInput

MAX_LENGTH = 8192
MAX_DEPTH = 64

_GRAMMAR = r"""
?start: any
?any: all ("or" all)*
?all: negated ("and" negated)*
?negated: "not" negated -> negation
        | "(" any ")"
        | comparison
comparison: operand [operator operand]
!operator: "==" | "!=" | "<=" | ">=" | "<" | ">" | "in" | "starts_with" | "ends_with"
         | "contains" | "matches"
?operand: PATH -> path
        | PATH "[" STRING "]" -> item
        | STRING -> string
        | NUMBER -> number
        | true
        | false
        | "[" [operand ("," operand)* ","?] "]" -> list
!true: "true"
!false: "false"
PATH: /[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_-]+)?/
STRING: /'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"/
NUMBER: /-?[0-9]+(\.[0-9]+)?/
%ignore /\s+/
"""


class ConditionError(ValueError):
    """A condition makes no sense; the text starts with its line and column."""

    def __init__(self, message: str, line: int = 1, column: int = 1) -> None:
        super().__init__(f"line {line}, column {column}: {message}")


@dataclass(frozen=True, slots=True)
class At:
    """Where something stands in the text."""

    line: int
    column: int

    def error(self, message: str) -> ConditionError:
        return ConditionError(message, self.line, self.column)


@dataclass(frozen=True, slots=True)
class Literal:
    at: At
    value: str | float | bool | tuple[str | float | bool, ...]


@dataclass(frozen=True, slots=True)
class Path:
    """A field; `key` is what follows the dot or stands in the brackets."""

    at: At
    name: str
    key: str | None = None


Operand: TypeAlias = Literal | Path


@dataclass(frozen=True, slots=True)
class Comparison:
    at: At
    left: Operand
    operator: str | None
    right: Operand | None


@dataclass(frozen=True, slots=True)
class Combination:
    """`word` is ``and``, ``or`` or, with one part, ``not``."""

    word: str
    parts: tuple["Node", ...]


Node: TypeAlias = Comparison | Combination
_OPERATORS = "== != < <= > >= in starts_with ends_with contains matches"
_WORDS = {"any": "or", "all": "and", "negation": "not"}


def parsed(text: str) -> Node:
    """Return the tree of a condition, or raise `ConditionError`."""
    if len(text) > MAX_LENGTH:
        raise ConditionError(f"the condition has more than {MAX_LENGTH} characters")
    if not text.strip():
        raise ConditionError("the condition is empty")
    try:
        tree = _parser().parse(text)
    except UnexpectedInput as error:
        raise _at_fault(text, error) from error
    return _node(tree, 0)


@cache
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", propagate_positions=True, maybe_placeholders=False)


def _at_fault(text: str, error: UnexpectedInput) -> ConditionError:
    if isinstance(error, UnexpectedCharacters):
        found = text[error.pos_in_stream] if error.pos_in_stream is not None else "?"
        what = "a text that does not end" if found in "'\"" else f"the character {found!r}"
        return ConditionError(f"{what} has no meaning here", error.line, error.column)
    token = getattr(error, "token", None)
    if not isinstance(token, Token) or token.type == "$END":
        lines = text.rstrip().split("\n")
        return ConditionError("the condition ends too early", len(lines), len(lines[-1]) + 1)
    what = f"did not expect {str(token)!r} here"
    if "STARTS_WITH" in getattr(error, "expected", ()):
        what += f"; the operators are {_OPERATORS}"
    return ConditionError(what, token.line or 1, token.column or 1)


def _node(tree: Tree[Token], depth: int) -> Node:
    if depth > MAX_DEPTH:
        raise _at(tree).error(f"it nests deeper than {MAX_DEPTH} levels")
    kind = str(tree.data)
    if kind in _WORDS:
        parts = (_node(child, depth + 1) for child in _trees(tree))
        return Combination(_WORDS[kind], tuple(parts))
    operands = _trees(tree)
    left = _operand(operands[0], depth)
    if len(operands) == 1:
        return Comparison(left.at, left, None, None)
    operator = str(operands[1].children[0])
    return Comparison(_at(operands[1]), left, operator, _operand(operands[2], depth))


def _operand(tree: Tree[Token], depth: int) -> Operand:
    at, kind = _at(tree), str(tree.data)
    if kind == "list":
        return Literal(at, tuple(_element(child) for child in _trees(tree)))
    if kind in ("true", "false"):
        return Literal(at, kind == "true")
    words = [str(child) for child in tree.children]
    if kind == "string":
        return Literal(at, _unquoted(words[0]))
    if kind == "number":
        return Literal(at, float(words[0]))
    if kind == "item":
        return Path(at, words[0], _unquoted(words[1]))
    name, _, key = words[0].partition(".")
    return Path(at, name, key or None)


def _element(tree: Tree[Token]) -> str | float | bool:
    element = _operand(tree, 0) if str(tree.data) != "list" else None
    if not isinstance(element, Literal) or isinstance(element.value, tuple):
        raise _at(tree).error("a list holds texts and numbers only")
    return element.value


def _unquoted(text: str) -> str:
    r"""Take off the quotes; ``\'``, ``\"`` are undone, other backslashes stay (``\d``)."""
    return text[1:-1].replace("\\'", "'").replace('\\"', '"')


def _trees(tree: Tree[Token]) -> list[Tree[Token]]:
    return [child for child in tree.children if isinstance(child, Tree)]


def _at(tree: Tree[Token]) -> At:
    return At(getattr(tree.meta, "line", 1), getattr(tree.meta, "column", 1))

"""How faults of a configuration are worded for whoever writes YAML and no Python."""

from collections.abc import Collection
from difflib import get_close_matches

_PLAIN = {
    "missing": "is missing, and has no default",
    "bool": "must be true or false",
    "int": "must be a whole number",
    "float": "must be a number",
    "string": "must be text; put it in quotes",
    "tuple": "must be a list, as in [a, b]",
    "list": "must be a list, as in [a, b]",
    "dict": "must be a mapping of keys to values",
    "model": "must be a mapping of keys to values",
}


def plainly(kind: str, message: str) -> str:
    """What pydantic says of a value, by the kind of its error (``int_parsing``)."""
    told = _PLAIN.get(kind) or _PLAIN.get(kind.split("_")[0], "")
    if told and (kind == "missing" or kind.endswith(("_type", "_parsing", "_from_float"))):
        return told
    return message.removeprefix("Value error, ").replace("Input should be", "must be")


def meant(name: str, known: Collection[str]) -> str:
    """The end of a sentence about `name`, which is none of `known`: the nearest, or all."""
    if near := get_close_matches(name, sorted(known), 1):
        return f"; did you mean {near[0]!r}?"
    return f"; known here: {', '.join(sorted(known)) or 'none'}"

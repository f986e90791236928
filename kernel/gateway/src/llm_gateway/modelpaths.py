"""Where in a settings model a key or an error is."""

from collections.abc import Iterable, Mapping
from typing import Any, get_args

from pydantic import BaseModel, SecretStr

from llm_gateway.layers import Key


def names_at(model: Any, loc: tuple[str | int, ...]) -> set[str]:
    """The keys that `model` knows at `loc`, through lists, unions and nested sections."""
    at = [model]
    for step in loc:
        deeper = [
            each.model_fields[step].annotation
            for each in models(at)
            if isinstance(step, str) and step in each.model_fields
        ]
        at = deeper or at
    return {name for each in models(at) for name in each.model_fields}


def models(annotations: Iterable[Any]) -> list[type[BaseModel]]:
    found: list[type[BaseModel]] = []
    for each in annotations:
        if isinstance(each, type) and issubclass(each, BaseModel):
            root = each.model_fields.get("root")
            found += models([root.annotation]) if root else [each]
        else:
            found += models(get_args(each))
    return found


def real(loc: tuple[str | int, ...], value: Any, missing: bool) -> Key:
    """`loc` without the names of union members that pydantic puts into it."""
    key: list[str | int] = []
    for index, step in enumerate(loc):
        if isinstance(value, dict):
            if step in value or (missing and index == len(loc) - 1):
                key.append(step)
                value = value.get(str(step))
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            key.append(step)
            value = value[step]
    return tuple(key)


def is_empty(given: Mapping[str, Any], model: Any, name: str) -> bool:
    """Whether the setting `name` holds nothing: neither in `given` nor as a default."""
    value = given.get(name, model.model_fields[name].get_default(call_default_factory=True))
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    return text is None or repr(text) == "PydanticUndefined" or not str(text).strip()

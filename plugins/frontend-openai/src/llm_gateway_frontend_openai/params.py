"""Tuning parameters by their canonical names, checked by type (openai.md, section 2)."""

from typing import Any

from llm_gateway_api.errors import MalformedBodyError
from llm_gateway_api.reading import wrong

_NUMBER = ("a number", (int, float))
_INTEGER = ("an integer", (int,))
_BOOL = ("true or false", (bool,))
_TEXT = ("a string", (str,))
_OBJECT = ("an object", (dict,))
_LIST = ("an array", (list,))

TYPES: dict[str, tuple[str, tuple[type, ...]]] = {
    "temperature": _NUMBER,
    "top_p": _NUMBER,
    "presence_penalty": _NUMBER,
    "frequency_penalty": _NUMBER,
    "max_tokens": _INTEGER,
    "max_completion_tokens": _INTEGER,
    "n": _INTEGER,
    "seed": _INTEGER,
    "top_logprobs": _INTEGER,
    "stop": ("a string or an array of strings", (str, list)),
    "logprobs": ("true or false, or an integer", (bool, int)),
    "logit_bias": _OBJECT,
    "response_format": _OBJECT,
    "parallel_tool_calls": _BOOL,
    "reasoning_effort": _TEXT,
    "verbosity": _TEXT,
    "modalities": _LIST,
    "audio": _OBJECT,
    "prediction": _OBJECT,
    "service_tier": _TEXT,
    "store": _BOOL,
    "metadata": _OBJECT,
    "user": _TEXT,
    "safety_identifier": _TEXT,
    "prompt_cache_key": _TEXT,
    "prompt_cache_options": _OBJECT,
    "prompt_cache_retention": _TEXT,
    "moderation": _OBJECT,
    "web_search_options": _OBJECT,
    "best_of": _INTEGER,
    "echo": _BOOL,
    "suffix": _TEXT,
    "dimensions": _INTEGER,
    "encoding_format": _TEXT,
}


def split(members: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters by canonical name, and the members that no table names."""
    params: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for name, value in members.items():
        known = TYPES.get(name)
        if known is None:
            extra[name] = value
            continue
        _check(name, value, *known)
        params[name] = value
    if "max_completion_tokens" in params:
        wins = params.pop("max_completion_tokens")
        if wins is not None or "max_tokens" not in params:
            params["max_tokens"] = wins
    if "stop" in params:
        params["stop"] = _stop(params["stop"])
    return params, extra


def _check(name: str, value: object, expected: str, types: tuple[type, ...]) -> None:
    if value is None:
        return
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        raise wrong(name, expected)
    if name == "response_format" and isinstance(value, dict):
        kind = value.get("type")
        if not isinstance(kind, str):
            raise wrong("response_format.type", "a string")
        if kind == "json_schema" and not isinstance(value.get("json_schema"), dict):
            raise wrong("response_format.json_schema", "an object")
    if (
        name in ("max_tokens", "max_completion_tokens", "n")
        and isinstance(value, int)
        and value < 1
    ):
        raise MalformedBodyError(f"{name!r} must be at least 1.", param=name)


def _stop(value: Any) -> list[str] | None:
    if isinstance(value, str):
        return [value]
    for at, each in enumerate(value or ()):
        if not isinstance(each, str):
            raise wrong(f"stop[{at}]", "a string")
    return value  # type: ignore[no-any-return]  # a list of strings, as just checked

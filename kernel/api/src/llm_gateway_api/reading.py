"""Checked reading: of decoded JSON, for frontends, where what is wrong is told with its path;
and of the keys that a caller sends."""

from collections.abc import Mapping
from typing import Any

import msgspec

from llm_gateway_api.errors import MalformedBodyError
from llm_gateway_api.requests import RequestHead, Within
from llm_gateway_api.values import Headers

Object = Mapping[str, Any]
# Where the dialects keep the longest answer that a caller allows.
_CAPS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
_FLAGS = {b"true": True, b"false": False, b"null": False}
MAX_MODEL_CHARS = 256


def wrong(param: str, expected: str) -> MalformedBodyError:
    return MalformedBodyError(f"{param!r} must be {expected}.", param=param)


def decoded(raw: msgspec.Raw, param: str) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise wrong(param, "valid JSON") from error


def members(head: RequestHead) -> dict[str, Any]:
    """All of the body, decoded. Raises `MalformedBodyError` that names the bad member."""
    try:
        found: dict[str, Any] = msgspec.json.decode(head.body)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return {name: decoded(raw, name) for name, raw in head.fields.items()}
    return found


def text(value: object, param: str) -> str:
    if not isinstance(value, str):
        raise wrong(param, "a string")
    return value


def optional_text(holder: Object, key: str, path: str) -> str | None:
    value = holder.get(key)
    return None if value is None else text(value, f"{path}.{key}")


def mapping(value: object, param: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise wrong(param, "an object")
    return value


def array(value: object, param: str) -> list[Any]:
    if not isinstance(value, list):
        raise wrong(param, "an array")
    return value


def rest(holder: Object, *known: str) -> dict[str, Any]:
    """The members of `holder` that are not `known`."""
    return {key: value for key, value in holder.items() if key not in known}


def within(name: str, inner: Object, *known: str) -> dict[str, Any]:
    """What `inner`, the member `name` of a part or a tool, holds beside the `known`, as `extra`
    keeps it: below that name, or nothing."""
    left = rest(inner, *known)
    return {name: Within(left)} if left else {}


def data_url(url: str) -> tuple[str, str] | None:
    """Media type and base64 data of a ``data:`` URL, None for any other."""
    if url[:5].lower() != "data:":
        return None
    head, comma, data = url[5:].partition(",")
    if not comma or not head.endswith(";base64"):
        return None
    return head.removesuffix(";base64"), data


def presented_keys(headers: Headers) -> list[str]:
    """The API keys sent: a bearer token first, for some clients send two that differ."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    other = headers.get("x-api-key", "").strip()
    if bearer:
        return [bearer, other] if other else [bearer]
    return [other] if other else []


def model_field(fields: Mapping[str, msgspec.Raw]) -> str:
    """The model's name of a request that was not decoded. Raises `MalformedBodyError`."""
    raw = fields.get("model")
    if raw is None:
        raise MalformedBodyError("'model' is missing; name a model.", param="model")
    model = decoded(raw, "model")
    if not isinstance(model, str) or not 0 < len(model) <= MAX_MODEL_CHARS:
        raise wrong("model", f"a string of 1 to {MAX_MODEL_CHARS} characters")
    if not model.isprintable():
        raise wrong("model", "free of control characters")
    return model


def flag_field(fields: Mapping[str, msgspec.Raw], name: str) -> bool:
    """Likewise the member `name`, false where it is absent or null. Raises
    `MalformedBodyError`."""
    raw = fields.get(name)
    if raw is None:
        return False
    try:
        return _FLAGS[bytes(raw)]
    except KeyError:
        raise wrong(name, "true, false or null") from None


def whole_field(head: RequestHead, name: str) -> int | None:
    """The top-level member `name` of a request that was not decoded, if it is a whole number."""
    raw = head.fields.get(name)
    if raw is not None and (text := bytes(raw)).isdigit():
        return int(text[:9])
    return None


def output_cap(head: RequestHead) -> int | None:
    """The longest answer, in tokens, that the caller allows."""
    fields = head.fields
    for name in _CAPS:
        if name in fields and (found := whole_field(head, name)) is not None:
            return found
    return None

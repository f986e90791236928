"""Reasoning items, both ways: the opaque state travels in ``encrypted_content``.

State of any vendor is packed together with the text that it belongs to, for some clients
send an item back without its summary. Encrypted content that the gateway did not pack is
OpenAI's own; the whole item goes back to it.
"""

from collections.abc import Mapping
from typing import Any

from llm_gateway_api.opaque import pack_state, unpack_state
from llm_gateway_api.reading import array, mapping, optional_text, rest, text, within
from llm_gateway_api.requests import ReasoningPart

from llm_gateway_frontend_responses.wire import DIALECT

_TEXTS = ("content", "summary")  # the full text is preferred
_KNOWN = ("type", "id", "status", "encrypted_content", *_TEXTS)


def sealed(said: str, state: Mapping[str, Any]) -> str:
    return pack_state({"text": said, "state": state})


def decode_reasoning(given: dict[str, Any], path: str) -> ReasoningPart:
    content, summary = (_texts(given, each, path) for each in _TEXTS)
    said = "".join(content) or "\n\n".join(summary)
    extra = _beside(given)
    secret = optional_text(given, "encrypted_content", path)
    if not secret:
        return ReasoningPart(said, extra=extra)
    packed = unpack_state(secret)
    if packed is None:
        return ReasoningPart(said, {DIALECT: given}, extra)
    signed, state = packed.get("text"), packed.get("state")
    return ReasoningPart(
        signed if isinstance(signed, str) and signed else said,
        state if isinstance(state, dict) else {},
        extra,
    )


def _beside(given: dict[str, Any]) -> dict[str, Any]:
    """What stands beside the known members of an item, and of the texts in it."""
    found = rest(given, *_KNOWN)
    for key in _TEXTS:
        for each in given.get(key) or ():
            for name, inner in within(key, each, "type", "text").items():
                found.setdefault(name, inner).update(inner)
    return found


def _texts(given: dict[str, Any], key: str, path: str) -> list[str]:
    found = []
    for at, each in enumerate(array(given.get(key) or [], f"{path}.{key}")):
        where = f"{path}.{key}[{at}]"
        found.append(text(mapping(each, where).get("text"), f"{where}.text"))
    return found

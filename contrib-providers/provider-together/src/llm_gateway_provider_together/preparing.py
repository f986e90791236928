"""A canonical request in the terms of Together; the dialect's library writes what comes out."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import llm_gateway_api as gw
from msgspec import structs

DIALECT = "openai.chat"
# Members of the vendor's own that a client of OpenAI's dialect may add to its body.
OWN = (
    "top_k", "min_p", "repetition_penalty", "echo", "reasoning", "chat_template_kwargs",
    "context_length_exceeded_behavior", "safety_model", "compliance",
)  # fmt: skip
EFFORTS: Mapping[str, str] = MappingProxyType({"minimal": "low", "xhigh": "high", "max": "high"})
MAX_LOGPROBS = 20
# Parts that the dialect does not name and the vendor takes.
PARTS = ("video_url", "audio_url")


def prepared(request: gw.ChatRequest) -> gw.ChatRequest:
    """Raises `UnsupportedParameterError` for parts that no model here takes."""
    for at, message in enumerate(request.messages):
        for part in message.parts:
            _check(part, f"messages[{at}].content")
    params = {name: value for name, value in request.params.items() if value is not None}
    extra = {**request.extra}
    if extra and request.dialect in ("", DIALECT):
        params |= {name: extra.pop(name) for name in OWN if name in extra}
    _logprobs(params)
    _effort(params)
    return structs.replace(request, params=params, extra=extra)


def _check(part: gw.Part, place: str) -> None:
    if isinstance(part, gw.FilePart):
        raise _refused(place, "files; send their text")
    if isinstance(part, gw.AudioPart) and part.data is None:
        raise _refused(place, "audio of an earlier answer")
    if isinstance(part, gw.UnknownPart) and part.raw.get("type") not in PARTS:
        raise _refused(place, f"parts of the kind {part.raw.get('type')!r}")


def _logprobs(params: dict[str, Any]) -> None:
    """One number is both: whether, and how many alternatives."""
    wanted, top = params.pop("logprobs", None), params.pop("top_logprobs", None)
    if not wanted:
        return
    if top is not None and top > MAX_LOGPROBS:
        raise _refused("top_logprobs", f"more than {MAX_LOGPROBS} alternatives")
    params["logprobs"] = top or 1


def _effort(params: dict[str, Any]) -> None:
    """None at all is a switch of its own; three efforts are known."""
    effort = params.get("reasoning_effort")
    if effort == "none":
        del params["reasoning_effort"]
        params.setdefault("reasoning", {"enabled": False})
    elif isinstance(effort, str) and effort in EFFORTS:
        params["reasoning_effort"] = EFFORTS[effort]


def _refused(param: str, what: str) -> gw.UnsupportedParameterError:
    return gw.UnsupportedParameterError(f"Together does not take {what} ({param}).", param=param)

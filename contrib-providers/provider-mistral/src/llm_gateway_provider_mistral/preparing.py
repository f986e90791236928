"""A canonical request in the terms of Mistral, whose schema takes no member that it lacks.

Source: Mistral's OpenAPI (``additionalProperties: false`` throughout) and the types of its SDK
3.7. The dialect's library writes what comes out of here.
"""

import hashlib
import re
import string
from collections.abc import Iterable, Mapping
from typing import Any

import llm_gateway_api as gw
from msgspec import structs

DIALECT = "openai.chat"
# Members of the vendor's own that a client of OpenAI's dialect may add to its body.
OWN = (
    "min_tokens", "top_k", "repetition_penalty", "safe_prompt", "guardrails", "prompt_mode",
    "prompt_logprobs", "top_prompt_logprobs",
)  # fmt: skip
MAX_TEMPERATURE = 1.5
_ID = re.compile(r"[A-Za-z0-9]{9}")
_DIGITS = string.digits + string.ascii_letters
_KEPT = frozenset({gw.TextPart, gw.UnknownPart})  # parts that stay as they are
_SCHEMA = ("name", "description", "schema", "strict")


class Prepared:
    """`request` as it goes to the writer; `dropped` names what is left out."""

    def __init__(self, request: gw.ChatRequest, reasons: bool | None, clamp: bool) -> None:
        self._dropped: dict[str, None] = {}
        self._reasons = reasons
        params = {**request.params}
        extra = {**request.extra}
        if extra and request.dialect in ("", DIALECT):
            params |= {name: extra.pop(name) for name in OWN if name in extra}
        self.request = structs.replace(
            request,
            messages=tuple(self._messages(request.messages)),
            tools=None if not request.tools else tuple(_tool(each) for each in request.tools),
            tool_choice=_choice(request),
            params=self._params(params, clamp),
            extra=extra,
        )

    @property
    def dropped(self) -> tuple[str, ...]:
        return tuple(self._dropped)

    # --- parameters --------------------------------------------------------------------

    def _params(self, given: dict[str, Any], clamp: bool) -> dict[str, Any]:
        params = {name: value for name, value in given.items() if value is not None}
        _range(params, "temperature", 0, MAX_TEMPERATURE, clamp)
        if params.get("top_p") == 0:
            raise refused("top_p", "0; it takes more than 0, up to 1")
        if (seed := params.pop("seed", None)) is not None:
            if seed < 0:
                raise refused("seed", "a negative number")
            params["random_seed"] = seed
        if params.get("logprobs") is False:
            params.pop("logprobs")
            params.pop("top_logprobs", None)
        if isinstance(form := params.get("response_format"), dict):
            params["response_format"] = _form(form)
        if isinstance(guess := params.get("prediction"), dict):
            params["prediction"] = {"type": "content", "content": _joined(guess.get("content"))}
        self._tier(params)
        if self._reasons is False and params.pop("reasoning_effort", None) is not None:
            self._drop("reasoning_effort")
        return params

    def _tier(self, params: dict[str, Any]) -> None:
        """``auto`` and ``default`` are what the vendor does anyway; others it has not."""
        tier = params.get("service_tier")
        if tier is None or tier == "standard_only":
            return
        del params["service_tier"]
        if tier not in ("auto", "default"):
            self._drop("service_tier")

    # --- messages ----------------------------------------------------------------------

    def _messages(self, given: Iterable[gw.Message]) -> Iterable[gw.Message]:
        for each in given:
            if each.name is not None:
                self._drop("messages.name")
            parts = each.parts
            if not _KEPT.issuperset(map(type, parts)):
                parts = tuple([made for part in parts for made in self._part(part)])
            if each.role == "assistant" and not any(_says(part) for part in parts):
                continue  # the vendor refuses an assistant that says and does nothing
            same = parts == each.parts and each.name is None
            yield each if same else structs.replace(each, parts=parts, name=None)

    def _part(self, part: gw.Part) -> Iterable[gw.Part]:
        if isinstance(part, gw.ReasoningPart):
            return self._thought(part)
        if isinstance(part, gw.AudioPart):
            if part.data is None:
                self._drop("messages.audio")
                return ()
            return (_chunk("input_audio", part.data),)
        if isinstance(part, gw.ImagePart) and part.detail == "original":
            return (structs.replace(part, detail="high"),)
        if isinstance(part, gw.ToolResultPart):
            inner = tuple(made for each in part.parts for made in self._part(each))
            return (structs.replace(part, call_id=call_id(part.call_id), parts=inner),)
        return (_same(part),)

    def _thought(self, part: gw.ReasoningPart) -> Iterable[gw.Part]:
        """Back to models that reason, as the chunk that it came in."""
        if not self._reasons or not part.text:
            self._drop("reasoning")
            return ()
        text = {"type": "text", "text": part.text}
        raw = {"type": "thinking", "thinking": [text], "closed": True}
        return (gw.UnknownPart(DIALECT, raw),)

    def _drop(self, name: str) -> None:
        self._dropped[name] = None


def _same(part: gw.Part) -> gw.Part:
    if isinstance(part, gw.RefusalPart):
        return gw.TextPart(part.text)
    if isinstance(part, gw.FilePart):
        return _file(part)
    if isinstance(part, gw.ToolCallPart):
        if part.kind == "custom":
            raise refused("messages", "calls of custom tools")
        arguments = part.arguments or "{}"
        return structs.replace(part, id=call_id(part.id), arguments=arguments, extra={})
    return part


def _chunk(kind: str, value: object, **more: object) -> gw.UnknownPart:
    return gw.UnknownPart(DIALECT, {"type": kind, kind: value, **more})


def _file(part: gw.FilePart) -> gw.Part:
    if part.file_id is not None:
        return gw.UnknownPart(DIALECT, {"type": "file", "file_id": part.file_id})
    url = part.url or f"data:{part.media_type or 'application/pdf'};base64,{part.data}"
    name = {} if part.filename is None else {"document_name": part.filename}
    return _chunk("document_url", url, **name)


def _says(part: gw.Part) -> bool:
    return not isinstance(part, gw.TextPart) or bool(part.text)


def call_id(given: str) -> str:
    """An id as the vendor takes it; the same text always becomes the same id.

    Ids that the vendor made fit already and come back unchanged.
    """
    if _ID.fullmatch(given):
        return given
    number = int.from_bytes(hashlib.sha256(given.encode("utf-8", "surrogateescape")).digest())
    digits = []
    for _ in range(9):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(digits)


def _tool(tool: gw.Tool) -> gw.Tool:
    """The schema is demanded, also of a function that takes nothing, and has no address."""
    schema = tool.parameters
    if schema is None:
        schema = {"type": "object", "properties": {}}
    kept = {name: value for name, value in schema.items() if name not in ("$schema", "$id")}
    return structs.replace(tool, parameters=kept)


def _choice(request: gw.ChatRequest) -> gw.ToolChoice | None:
    """A choice without tools is left out where it asks for none, and refused otherwise."""
    choice = request.tool_choice
    if request.tools or choice is None:
        return choice
    if choice.mode not in ("auto", "none", "allowed"):
        raise gw.UnsupportedParameterError(
            "'tool_choice' asks for a tool, and 'tools' holds none.", param="tool_choice"
        )
    return None


def _form(form: Mapping[str, Any]) -> dict[str, Any]:
    if form.get("type") != "json_schema":
        return {"type": form.get("type")}
    given = form["json_schema"]
    schema = {name: given[name] for name in _SCHEMA if given.get(name) is not None}
    return {"type": "json_schema", "json_schema": {"schema": {}, **schema}}


def _joined(content: object) -> str:
    if isinstance(content, list):
        return "".join(str(each.get("text", "")) for each in content if isinstance(each, dict))
    return content if isinstance(content, str) else ""


def _range(params: dict[str, Any], name: str, low: float, high: float, clamp: bool) -> None:
    value = params.get(name)
    if value is None or low <= value <= high:
        return
    if not clamp:
        raise refused(name, f"{value}; it takes {low:g} to {high:g}")
    params[name] = min(max(value, low), high)


def refused(param: str, what: str) -> gw.UnsupportedParameterError:
    return gw.UnsupportedParameterError(f"Mistral does not take {what} ({param}).", param=param)

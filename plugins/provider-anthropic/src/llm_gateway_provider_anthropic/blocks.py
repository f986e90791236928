"""Parts of a canonical message as the vendor's content blocks."""

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import Any

import llm_gateway_api as gw
import msgspec

from llm_gateway_provider_anthropic.decoding import DIALECT

Block = dict[str, Any]
IMAGES = {"image/jpg": "image/jpeg"} | {
    f"image/{e}": f"image/{e}" for e in ("jpeg", "png", "gif", "webp")
}
_ID = re.compile(r"[a-zA-Z0-9_-]+")
# What a block of ours may carry besides its content; clients of other dialects may set the
# breakpoint of the prompt cache too.
MARKS = ("cache_control",)


def refused(what: str) -> gw.UnsupportedParameterError:
    return gw.UnsupportedParameterError(f"The model cannot take {what}.", param="messages")


def tool_id(given: str) -> str:
    """`given` where the vendor takes it, else a pure function of it, for calls and results."""
    if _ID.fullmatch(given):
        return given
    mark = hashlib.sha256(given.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{re.sub(r'[^a-zA-Z0-9_-]', '_', given)}_{mark}"


def block(part: gw.Part, dialect: str) -> Block | None:
    """The block of `part`, None where it says nothing; `dialect` is the request's."""
    if isinstance(part, gw.TextPart):
        if not part.text.strip():
            return None
        said = {"type": "text", "text": part.text}
        return said | marks(part.extra, dialect) if part.extra else said
    if isinstance(part, gw.ImagePart):
        return gw.joined({"type": "image", "source": _picture(part)}, marks(part.extra, dialect))
    if isinstance(part, gw.FilePart):
        return _document(part, dialect)
    if isinstance(part, gw.ToolCallPart):
        return _call(part, dialect)
    if isinstance(part, gw.ToolResultPart):
        return _result(part, dialect)
    if isinstance(part, gw.ReasoningPart):
        return thought(part)
    if isinstance(part, gw.RefusalPart):
        said = {"type": "text", "text": part.text}
        return said | marks(part.extra, dialect) if part.text.strip() else None
    if isinstance(part, gw.UnknownPart) and part.dialect == DIALECT:
        return dict(part.raw)
    raise refused("audio" if isinstance(part, gw.AudioPart) else "a part of this kind")


def marks(extra: Mapping[str, Any], dialect: str) -> Block:
    if dialect == DIALECT:
        return dict(extra)
    return {name: extra[name] for name in MARKS if extra.get(name) is not None}


def thought(part: gw.ReasoningPart) -> Block | None:
    """An earlier thought, byte for byte; one of another vendor, or without a signature,
    would be refused and is left out."""
    own = part.state.get(DIALECT)
    if not isinstance(own, dict):
        return None
    if (data := own.get("redacted")) is not None:
        return {"type": "redacted_thinking", "data": data}
    if not own.get("signature"):
        return None
    return {"type": "thinking", "thinking": part.text, "signature": own["signature"]}


def _picture(part: gw.ImagePart) -> Block:
    if part.url is not None:
        if not part.url.startswith("https://"):
            raise refused("a picture's address that is not https; send it as a data URL")
        return {"type": "url", "url": part.url}
    kind = IMAGES.get((part.media_type or "").lower())
    if kind is None:
        raise refused(f"a picture of the type {part.media_type}; send JPEG, PNG, GIF or WebP")
    return {"type": "base64", "media_type": kind, "data": _packed(part.data)}


def _document(part: gw.FilePart, dialect: str) -> Block:
    found: Block = {"type": "document", "source": _source(part)}
    if part.filename:
        found["title"] = part.filename
    return gw.joined(found, marks(part.extra, dialect))


def _source(part: gw.FilePart) -> Block:
    if part.file_id is not None:
        return {"type": "file", "file_id": part.file_id}
    if part.url is not None:
        return {"type": "url", "url": part.url}
    kind = (part.media_type or "application/pdf").lower()
    if kind == "application/pdf":
        return {"type": "base64", "media_type": kind, "data": _packed(part.data)}
    if kind != "text/plain":
        raise refused(f"a document of the type {kind}; send PDF or plain text")
    try:
        plain = base64.b64decode(part.data or "", validate=True).decode()
    except ValueError as error:
        raise refused("a text document that is not base64 of UTF-8") from error
    return {"type": "text", "media_type": kind, "data": plain}


def _packed(data: str | None) -> str:
    """Base64 without the line breaks that the vendor refuses."""
    return "".join((data or "").split())


def _call(part: gw.ToolCallPart, dialect: str) -> Block:
    if part.kind == "custom":
        raise refused("calls of custom tools; use function tools")
    if not part.arguments.strip():
        given: Any = {}
    else:
        try:
            given = msgspec.json.decode(part.arguments)
        except (msgspec.DecodeError, RecursionError) as error:
            raise refused(f"the call {part.id}: its arguments are not valid JSON") from error
    if not isinstance(given, dict):
        raise refused(f"the call {part.id}: its arguments are no JSON object")
    # The text is kept as it is, so that a conversation keeps its bytes from turn to turn.
    raw: Any = msgspec.Raw(part.arguments.encode()) if part.arguments.strip() else given
    found: Block = {"type": "tool_use", "id": tool_id(part.id), "name": part.name, "input": raw}
    return found | marks(part.extra, dialect)


def _result(part: gw.ToolResultPart, dialect: str) -> Block:
    found: Block = {"type": "tool_result", "tool_use_id": tool_id(part.call_id)}
    inner = [made for each in part.parts if (made := block(each, dialect)) is not None]
    if len(inner) == 1 and inner[0].keys() == {"type", "text"}:
        found["content"] = inner[0]["text"]
    elif inner:
        found["content"] = inner
    if part.is_error:
        found["is_error"] = True
    return found | marks(part.extra, dialect)

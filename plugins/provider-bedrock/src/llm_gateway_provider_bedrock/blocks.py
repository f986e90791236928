"""Parts of a message as Converse content blocks, and what of them had to be left out."""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import llm_gateway_api as gw
import msgspec

from llm_gateway_provider_bedrock.families import Family

Block = dict[str, Any]

DIALECT = "bedrock.converse"
# Keys of a reasoning part's opaque state, below the name of the dialect.
SIGNATURE = "signature"
REDACTED = "redacted"

IMAGES = {
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/jpg": "jpeg",
    "image/gif": "gif",
    "image/webp": "webp",
}
DOCUMENTS = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}
EMPTY_RESULT = "(no output)"
TOOL_ID = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")
_ILLEGAL = re.compile(r"[^a-zA-Z0-9_.:-]")


class Blocks:
    """Writes the parts of one request for one family, and keeps account of what it drops.

    `documents` is how many were written, `tools` whether a call or a result was.
    """

    def __init__(self, family: Family) -> None:
        self.family = family
        self.dropped: list[str] = []
        self.documents = 0
        self.tools = False

    def of(self, parts: Iterable[gw.Part]) -> list[Block]:
        """The blocks of `parts`, each cache point behind what it marks."""
        blocks: list[Block] = []
        for part in parts:
            write = _WRITERS.get(type(part))
            if write is None:
                raise refused(part)
            blocks += write(self, part)
            if extra := getattr(part, "extra", None):
                self.mark(blocks, extra)
        return blocks

    def mark(self, blocks: list[Block], extra: Mapping[str, Any]) -> None:
        """Add the cache point that ``cache_control`` asks for; note what else is in `extra`."""
        self.dropped += [f"messages.{each}" for each in gw.beside(extra, ("cache_control",))]
        if (point := self.cache_point(extra)) is None or not blocks:
            return
        at = len(blocks)
        while at and "document" in blocks[at - 1]:  # refused directly behind a document
            at -= 1
        if at and "cachePoint" not in blocks[at - 1]:
            blocks.insert(at, point)

    def cache_point(self, extra: Mapping[str, Any]) -> Block | None:
        given = extra.get("cache_control")
        if given is None:
            return None
        if not self.family.cache_points:
            self.dropped.append("cache_control")
            return None
        point = {"type": "default"}
        ttl = given.get("ttl") if isinstance(given, Mapping) else None
        if ttl is not None and self.family.cache_ttl:
            point["ttl"] = ttl
        return {"cachePoint": point}

    def _text(self, part: gw.TextPart | gw.RefusalPart) -> list[Block]:
        return [{"text": part.text}] if part.text.strip() else []

    def _image(self, part: gw.ImagePart) -> list[Block]:
        if not self.family.images:
            raise gw.UnsupportedParameterError(
                "The model chosen takes no images; send text, or choose another.", param="messages"
            )
        if part.data is None:
            raise gw.UnsupportedParameterError(
                "Bedrock takes no image by its address; send it as a base64 data URL.",
                param="messages",
            )
        kind = IMAGES.get((part.media_type or "").partition(";")[0].lower())
        if kind is None:
            raise gw.UnsupportedParameterError(
                f"Bedrock takes images as {', '.join(sorted(set(IMAGES.values())))}, "
                f"not {part.media_type}.",
                param="messages",
            )
        return [{"image": {"format": kind, "source": {"bytes": part.data}}}]

    def _file(self, part: gw.FilePart) -> list[Block]:
        media = (part.media_type or "").partition(";")[0].lower()
        if media in IMAGES:
            return self._image(gw.ImagePart(None, media, part.data))
        if not self.family.documents:
            raise gw.UnsupportedParameterError(
                "The model chosen takes no documents; send text, or choose another.",
                param="messages",
            )
        if part.data is None:
            raise gw.UnsupportedParameterError(
                "Bedrock takes a document's bytes only; send it as base64 data.", param="messages"
            )
        ending = (part.filename or "").rpartition(".")[2].lower()
        kind = DOCUMENTS.get(media) or (ending if ending in DOCUMENTS.values() else None)
        if kind is None:
            raise gw.UnsupportedParameterError(
                f"Bedrock takes documents as {', '.join(sorted(DOCUMENTS.values()))}; "
                f"give the media type or a filename that ends in one of them.",
                param="messages",
            )
        self.documents += 1
        # A client's file name is text that the model reads, so it gets a number instead.
        name = f"Document {self.documents}"
        return [{"document": {"format": kind, "name": name, "source": {"bytes": part.data}}}]

    def _reasoning(self, part: gw.ReasoningPart) -> list[Block]:
        own = part.state.get(DIALECT)
        if self.family.replays and isinstance(own, Mapping):
            if redacted := own.get(REDACTED):
                return [{"reasoningContent": {"redactedContent": redacted}}]
            if signature := own.get(SIGNATURE):
                text = {"text": part.text, "signature": signature}
                return [{"reasoningContent": {"reasoningText": text}}]
        self.dropped.append("reasoning")
        return []

    def _call(self, part: gw.ToolCallPart) -> list[Block]:
        if part.kind != "function":
            raise custom(part.kind)
        self.tools = True
        call = {"toolUseId": tool_id(part.id), "name": part.name, "input": arguments(part)}
        return [{"toolUse": call}]

    def _result(self, part: gw.ToolResultPart) -> list[Block]:
        self.tools = True
        content = [
            {"text": each.text}
            for each in part.parts
            if isinstance(each, gw.TextPart) and each.text.strip()
        ]
        if len(content) != len(part.parts):
            content = self.of(part.parts)
        result: Block = {"toolUseId": tool_id(part.call_id)}
        result["content"] = content or [{"text": EMPTY_RESULT}]
        if part.is_error and self.family.results_status:
            result["status"] = "error"
        elif part.is_error:
            self.dropped.append("messages.is_error")
        return [{"toolResult": result}]


_WRITERS: Mapping[type, Callable[[Blocks, Any], list[Block]]] = {
    gw.TextPart: Blocks._text,
    gw.RefusalPart: Blocks._text,
    gw.ImagePart: Blocks._image,
    gw.FilePart: Blocks._file,
    gw.ReasoningPart: Blocks._reasoning,
    gw.ToolCallPart: Blocks._call,
    gw.ToolResultPart: Blocks._result,
}


def tool_id(given: str) -> str:
    """`given` in Bedrock's alphabet; the same function for calls and results, so no memory.

    The hash keeps two ids apart that would look alike.
    """
    if TOOL_ID.fullmatch(given):
        return given
    digest = hashlib.sha256(given.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{_ILLEGAL.sub('_', given)[:40]}_{digest}"


def arguments(part: gw.ToolCallPart) -> msgspec.Raw:
    """The arguments as the model wrote them, byte for byte; none at all is an empty object."""
    text = part.arguments.strip() or "{}"
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        found = None
    if not isinstance(found, dict):
        raise gw.UnsupportedParameterError(
            f"The arguments of the tool call {part.id} are no JSON object; "
            "send what the model wrote, or leave the call out.",
            param="messages",
        )
    return msgspec.Raw(text.encode())


def custom(kind: str) -> gw.UnsupportedParameterError:
    return gw.UnsupportedParameterError(
        f"Bedrock has no tools of the type {kind}; use a function.", param="tools"
    )


def refused(part: gw.Part) -> gw.UnsupportedParameterError:
    kind = part.raw.get("type") if isinstance(part, gw.UnknownPart) else "audio"
    return gw.UnsupportedParameterError(
        f"Bedrock cannot take a part of the type {kind}; leave it out.", param="messages"
    )

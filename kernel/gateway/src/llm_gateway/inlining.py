"""Pictures and documents by address, for providers that take them by value only.

Fetched once for a request, before its first such attempt; later attempts find the data.
"""

import asyncio
import base64
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from llm_gateway_api import (
    CanonicalRequest,
    ChatRequest,
    ClientError,
    Fetch,
    Fetched,
    FetchError,
    FilePart,
    ImagePart,
    Message,
    Part,
    SupportsInline,
    ToolResultPart,
)
from msgspec import structs

if TYPE_CHECKING:
    from llm_gateway.pipeline import Call

_KINDS: dict[type, str] = {ImagePart: "image", FilePart: "file"}
_HOLDERS = frozenset({ImagePart, FilePart, ToolResultPart})  # what is or may hold one of these
# First bytes of what vendors take; a server's own word is often application/octet-stream.
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
)


@dataclass(frozen=True, slots=True)
class Inlining:
    """Fetches what a provider cannot; at most `limit` parts of one request."""

    fetch: Fetch
    limit: int

    def concerns(self, request: CanonicalRequest) -> bool:
        """Whether `request` holds anything to fetch perhaps: most need no `apply`."""
        if isinstance(request, ChatRequest):
            for message in request.messages:
                if not _HOLDERS.isdisjoint(map(type, message.parts)):
                    return True
        return False

    async def apply(self, call: "Call", provider: SupportsInline) -> None:
        """Put base64 data in the place of addresses.

        Raises `ClientError` (400) that names the message of what cannot be had.
        """
        request = call.canonical()
        if not isinstance(request, ChatRequest):
            return
        wanted: dict[str, tuple[str, str]] = {}  # address to field and kind
        for field, part in _parts(request.messages):
            kind, url = _KINDS[type(part)], part.url
            if url is not None and part.data is None and provider.inlines(kind, url):
                wanted.setdefault(url, (field, kind))
        if not wanted:
            return
        if len(wanted) > self.limit:
            raise ClientError(
                f"The messages name {len(wanted)} pictures and documents by address; at most "
                f"{self.limit} are fetched (security.egress.max_fetches_per_request).",
                param="messages",
            )
        found = await self._all(wanted, call.deadline)
        messages = tuple(_replaced(each, found) for each in request.messages)
        call.request = structs.replace(request, messages=messages)

    async def _all(
        self, wanted: dict[str, tuple[str, str]], deadline: float
    ) -> dict[str, tuple[str, str]]:
        """Media type and base64 data by address; the first failure ends the others."""
        tasks = [
            asyncio.create_task(self._one(url, *where, deadline)) for url, where in wanted.items()
        ]
        try:
            return dict(zip(wanted, await asyncio.gather(*tasks), strict=True))
        finally:
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _one(self, url: str, field: str, kind: str, deadline: float) -> tuple[str, str]:
        try:
            left = None if deadline == float("inf") else max(0.0, deadline - monotonic())
            answer = await self.fetch(url, seconds=left)
            if answer.status != 200:
                raise FetchError(f"the answer was {answer.status}")
            media_type = _media_type(answer)
            if kind == "image" and not media_type.startswith("image/"):
                raise FetchError(f"it is {media_type}, which is no picture")
        except FetchError as error:
            what = "picture" if kind == "image" else "document"
            host = urlsplit(url).hostname or "its address"
            raise ClientError(
                f"{field}: the {what} at {host} cannot be had: {error}.",
                param=field,
                code="invalid_image_url" if kind == "image" else "invalid_file_url",
            ) from error
        return media_type, base64.b64encode(answer.body).decode()


def _parts(messages: Sequence[Message]) -> Iterator[tuple[str, ImagePart | FilePart]]:
    """Each picture and document with the name of its field."""
    for index, message in enumerate(messages):
        if not _HOLDERS.isdisjoint(map(type, message.parts)):
            yield from _within(f"messages[{index}].content", message.parts)


def _within(field: str, parts: Iterable[Part]) -> Iterator[tuple[str, ImagePart | FilePart]]:
    for index, part in enumerate(parts):
        if isinstance(part, ImagePart | FilePart):
            yield f"{field}[{index}]", part
        elif isinstance(part, ToolResultPart):
            yield from _within(f"{field}[{index}]", part.parts)


def _replaced(message: Message, found: dict[str, tuple[str, str]]) -> Message:
    parts = _mapped(message.parts, found)
    return message if parts == message.parts else structs.replace(message, parts=parts)


def _mapped(parts: tuple[Part, ...], found: dict[str, tuple[str, str]]) -> tuple[Part, ...]:
    changed: list[Part] = []
    for part in parts:
        if isinstance(part, ImagePart | FilePart) and part.data is None and part.url in found:
            media_type, data = found[part.url]
            part = structs.replace(part, url=None, media_type=media_type, data=data)
        elif isinstance(part, ToolResultPart):
            part = structs.replace(part, parts=_mapped(part.parts, found))
        changed.append(part)
    return tuple(changed)


def _media_type(answer: Fetched) -> str:
    body = answer.body
    for magic, media_type in _MAGIC:
        if body.startswith(magic):
            return media_type
    if body.startswith(b"RIFF") and body[8:12] == b"WEBP":
        return "image/webp"
    said = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    return said or "application/octet-stream"

"""Pictures, sound and documents as ``inlineData`` or ``fileData`` parts."""

import re
from typing import Any, Literal
from urllib.parse import urlsplit

import llm_gateway_api as gw

from llm_gateway_provider_gemini.models import PICTURES

START = re.compile(r"[A-Za-z0-9+/]*={0,2}")
BY_ENDING = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "heic": "image/heic",
    "heif": "image/heif",
    "pdf": "application/pdf",
    "txt": "text/plain",
    "md": "text/markdown",
    "csv": "text/csv",
    "html": "text/html",
    "json": "application/json",
    "mp3": "audio/mp3",
    "wav": "audio/wav",
    "mp4": "video/mp4",
    "webm": "video/webm",
}
VIDEO_HOSTS = frozenset({"www.youtube.com", "youtube.com", "youtu.be"})
FILES = "https://generativelanguage.googleapis.com/"


class Media:
    """Writes the parts of one request and counts their bytes."""

    def __init__(self, remote: Literal["inline", "passthrough"], max_bytes: int) -> None:
        self._remote = remote
        self._left = max_bytes
        self._max = max_bytes

    def image(self, part: gw.ImagePart) -> dict[str, Any]:
        if part.url is not None:
            return self._linked(part.url, "image", part.media_type)
        kind = (part.media_type or "").lower().replace("image/jpg", "image/jpeg")
        if kind not in PICTURES:
            raise gw.UnsupportedParameterError(
                f"This provider cannot take a picture of the type {kind[:40]!r}; "
                f"send one of {', '.join(PICTURES)}.",
                param="messages",
            )
        return self._inline(kind, part.data or "")

    def audio(self, part: gw.AudioPart) -> dict[str, Any]:
        if part.data is None:
            raise gw.UnsupportedParameterError(
                "This provider cannot refer to the sound of an earlier answer; send its data.",
                param="messages",
            )
        return self._inline(f"audio/{(part.format or 'wav').lower()}", part.data)

    def file(self, part: gw.FilePart) -> dict[str, Any]:
        if part.file_id is not None:
            raise gw.UnsupportedParameterError(
                "This provider cannot take a 'file_id'; send 'file_data'.", param="messages"
            )
        known = part.media_type or by_ending(part.filename or "")
        if part.url is not None:
            return self._linked(part.url, "file", known)
        if known is None:
            raise gw.UnsupportedParameterError(
                "The type of a file is not known; send 'file_data' as a data URL that names it.",
                param="messages",
            )
        return self._inline(known, part.data or "")

    def video(self, url: str) -> dict[str, Any]:
        return self._linked(url, "video", by_ending(url) or "video/mp4")

    def _inline(self, media_type: str, data: str) -> dict[str, Any]:
        if not data or len(data) % 4 or not START.fullmatch(data[:1024]):
            raise gw.MalformedBodyError(
                f"The data of a part of the type {media_type[:40]!r} is not base64.",
                param="messages",
            )
        self._left -= len(data) * 3 // 4
        if self._left < 0:
            raise gw.BodyTooLargeError(
                f"Pictures, sound and documents of a request may have {self._max} bytes together.",
                param="messages",
            )
        return {"inlineData": {"mimeType": media_type, "data": data}}

    def _linked(self, url: str, kind: str, media_type: str | None) -> dict[str, Any]:
        if fetched(url, self._remote, media_type):
            raise gw.UnsupportedParameterError(
                f"This provider cannot take the address of a part of the kind {kind!r}; "
                "send its data.",
                param="messages",
            )
        known = media_type or by_ending(url)
        return {"fileData": {"fileUri": url, **({"mimeType": known} if known else {})}}


def fetched(url: str, remote: str, media_type: str | None = None) -> bool:
    """Whether the data must be sent instead of `url`; the vendor reads its own stores."""
    if url.startswith(("gs://", FILES)) or urlsplit(url).hostname in VIDEO_HOSTS:
        return False
    return remote == "inline" or (media_type or by_ending(url)) is None


def by_ending(name: str) -> str | None:
    path = urlsplit(name).path if "://" in name else name
    return BY_ENDING.get(path.rpartition(".")[2].lower())

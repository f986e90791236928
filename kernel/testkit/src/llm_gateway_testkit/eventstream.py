"""Writes frames of ``application/vnd.amazon.eventstream``; independent of what reads them.

Source: "Event stream encoding" of the Amazon Transcribe developer guide.
"""

import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

CONTENT_TYPE = "application/vnd.amazon.eventstream"
_STRING = 7


def message(headers: Mapping[str, str], payload: bytes = b"", raw_headers: bytes = b"") -> bytes:
    """One frame; `raw_headers` are headers of other types, already in bytes."""
    head = b"".join(_header(name, value) for name, value in headers.items()) + raw_headers
    prelude = struct.pack(">II", len(head) + len(payload) + 16, len(head))
    start = prelude + struct.pack(">I", zlib.crc32(prelude)) + head + payload
    return start + struct.pack(">I", zlib.crc32(start))


def event(kind: str, payload: object) -> bytes:
    """An event of the type `kind`."""
    return message(_headers(":event-type", kind, "event"), _json(payload))


def exception(kind: str, text: str, **more: object) -> bytes:
    """A modelled error of the service, inside a stream."""
    body = _json({"message": text, **more})
    return message(_headers(":exception-type", kind, "exception"), body)


def error(code: str, text: str) -> bytes:
    """An error that the service's model does not name: it has headers and no payload."""
    return message({":message-type": "error", ":error-code": code, ":error-message": text})


def stream(events: Sequence[Sequence[Any]]) -> bytes:
    """Frames of ``[type, payload]`` pairs, as a conformance case writes them."""
    return b"".join(event(kind, payload) for kind, payload in events)


def _headers(name: str, kind: str, message_type: str) -> dict[str, str]:
    return {name: kind, ":content-type": "application/json", ":message-type": message_type}


def _header(name: str, value: str) -> bytes:
    key, text = name.encode(), value.encode()
    return bytes([len(key)]) + key + bytes([_STRING]) + struct.pack(">H", len(text)) + text


def _json(payload: object) -> bytes:
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()

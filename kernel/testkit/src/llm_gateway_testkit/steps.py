"""What a scripted provider does with one request, and the bytes that it comes to.

Values only: the server in `scripted` plays them. A fault names the answer it spoils
(`of`), where (`where`) and, for ``between`` and ``mid_body``, after how many frames.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal, TypeAlias

Where: TypeAlias = Literal["before_headers", "after_headers", "between", "mid_body"]
Framing: TypeAlias = Literal["chunked", "close"]

JSON_TYPE = "application/json"
SSE_TYPE = "text/event-stream; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came in. Header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer with its ``content-length``, in one write after `delay_s`."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Stream:
    """Frames, one HTTP chunk and one write each, `delay_s` before every one.

    `chunk_size` cuts each frame into chunks of so many bytes: 1 dribbles. With `framing`
    ``close`` only the end of the connection ends the body.
    """

    frames: Sequence[bytes]
    delay_s: float = 0.0
    chunk_size: int | None = None
    framing: Framing = "chunked"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hang:
    """Fall silent, and end only with `ScriptedProvider.release` or when the client leaves.

    After `release` the rest of `of` is sent, as if nothing had been.
    """

    where: Where = "before_headers"
    after: int = 0
    of: Answer | Stream = Answer()


@dataclass(frozen=True, slots=True)
class Reset:
    """End the connection with a TCP RST."""

    where: Where = "before_headers"
    after: int = 0
    of: Answer | Stream = Answer(body=b"{}")


@dataclass(frozen=True, slots=True)
class Cut:
    """End the connection in good manners (FIN) where the answer is not over."""

    where: Where = "before_headers"
    after: int = 0
    of: Answer | Stream = Answer(body=b"{}")


@dataclass(frozen=True, slots=True)
class Garbage:
    """Send bytes that need not be HTTP, and close."""

    data: bytes = b"\x00\xff\x16\x03 this is no HTTP\r\n\r\n"


Fault: TypeAlias = Hang | Reset | Cut
Step: TypeAlias = Answer | Stream | Hang | Reset | Cut | Garbage
Script: TypeAlias = Step | Callable[[Received], Step]


def head(reply: Answer | Stream) -> bytes:
    """The status line and headers of `reply`; its own headers replace ours."""
    headers = {"content-type": JSON_TYPE}
    if isinstance(reply, Answer):
        headers["content-length"] = str(len(reply.body))
    else:
        headers["content-type"] = SSE_TYPE
        if reply.framing == "chunked":
            headers["transfer-encoding"] = "chunked"
        else:
            headers["connection"] = "close"
    headers |= {name.lower(): value for name, value in reply.headers.items()}
    lines = [f"HTTP/1.1 {reply.status} {_phrase(reply.status)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def frames(reply: Answer | Stream) -> list[list[bytes]]:
    """The writes of each frame of the body, framed for HTTP; the end mark is the last."""
    if isinstance(reply, Answer):
        return [[reply.body]]
    chunked = reply.framing == "chunked"
    body = [
        [_chunk(piece) if chunked else piece for piece in _pieces(each, reply.chunk_size)]
        for each in reply.frames
    ]
    return [*body, [b"0\r\n\r\n"]] if chunked else body


def split(fault: Fault) -> tuple[list[bytes], list[bytes]]:
    """The writes before `fault` and those that it keeps back."""
    body = frames(fault.of)
    if fault.where == "before_headers":
        return [], [head(fault.of), *_flat(body)]
    if fault.where == "after_headers":
        return [head(fault.of)], _flat(body)
    sent, kept = [head(fault.of), *_flat(body[: fault.after])], _flat(body[fault.after :])
    if fault.where == "mid_body" and kept:
        middle = max(1, len(kept[0]) // 2)
        return [*sent, kept[0][:middle]], [kept[0][middle:], *kept[1:]]
    return sent, kept


def _flat(body: Sequence[Sequence[bytes]]) -> list[bytes]:
    return [piece for each in body for piece in each]


def _pieces(data: bytes, size: int | None) -> list[bytes]:
    if not data:
        return []
    size = size or len(data)
    return [data[at : at + size] for at in range(0, len(data), size)]


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"

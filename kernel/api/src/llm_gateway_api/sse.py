"""Server-sent events, both ways: bytes in, payloads out, however they are split.

Source: the WHATWG HTML standard, section 9.2. Lines end in LF, CR or CRLF; a line that
starts with a colon is a comment; several data lines of one event are joined by LF; an
event without its blank line at the end of the stream is kept for `flush`.
"""

import json
import re

from llm_gateway_api.errors import UpstreamTruncatedError

MAX_EVENT_BYTES = 32 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"
_ENDS = (b"\n\n", b"\r\n\r\n", b"\r\r")
_OTHERS = (b"", b"id", b"retry")  # a comment, and fields that say nothing here


class SSEParser:
    """Splits a byte stream into events, in time linear to its length.

    With `keep_stray` the lines that are no field of an event are kept in `stray`: vendors
    write an error as bare JSON into a stream.
    """

    __slots__ = ("_after_cr", "_begun", "_max", "_rest", "_stray", "stray")

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES, *, keep_stray: bool = False) -> None:
        self._rest = bytearray()
        self._begun = False
        self._after_cr = False
        self._max = max_event_bytes
        self._stray = 0
        self.stray: list[bytes] | None = [] if keep_stray else None

    def feed(self, data: bytes) -> list[bytes]:
        """Return the data of each event that `data` completes."""
        return [payload for _, payload in self.feed_events(data)]

    def feed_events(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """Like `feed`, with the event's name (empty where there is none).

        Raises:
            UpstreamTruncatedError: one event is larger than `max_event_bytes`.
        """
        if b"\r" in data or self._after_cr:
            data = self._in_lf(data)
        rest = self._rest
        seen = len(rest)
        rest += data
        if rest.find(b"\n\n", max(0, seen - 1)) < 0:
            events = []
        else:
            complete, _, left = bytes(rest).rpartition(b"\n\n")
            rest = self._rest = bytearray(left)
            events = self._events(complete)
        if len(rest) + self._stray > self._max:
            raise UpstreamTruncatedError(f"an event is larger than {self._max} bytes")
        return events

    def flush(self) -> list[tuple[bytes, bytes]]:
        """Return the last event where the stream ended without its blank line."""
        last, self._rest = bytes(self._rest), bytearray()
        return self._events(last)

    def _in_lf(self, data: bytes) -> bytes:
        """`data` with every end of a line as LF; a CRLF may have been cut in two."""
        if self._after_cr and data:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        if data:
            self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _events(self, complete: bytes) -> list[tuple[bytes, bytes]]:
        """The events of `complete`, between which stand blank lines."""
        if not self._begun:
            self._begun = True
            complete = complete.removeprefix(_BOM)
        events: list[tuple[bytes, bytes]] = []
        for block in complete.split(b"\n\n"):
            if block.startswith(b"data: ") and b"\n" not in block:
                events.append((b"", block[6:]))  # the form that most vendors write
                continue
            name, data = b"", []
            for line in block.split(b"\n"):
                field, _colon, value = line.partition(b":")
                if field == b"data":
                    data.append(value.removeprefix(b" "))
                elif field == b"event":
                    name = value.removeprefix(b" ")
                elif self.stray is not None and field not in _OTHERS:
                    self.stray.append(line)
                    self._stray += len(line)
            if data:
                events.append((name, b"\n".join(data)))
        return events


class SSEBlocks:
    """Passes a byte stream on in whole events, as they came, in time linear to its length."""

    __slots__ = ("_held", "_max")

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._held = bytearray()
        self._max = max_event_bytes

    def feed(self, data: bytes) -> bytes:
        """Return the events that `data` completes; what follows them waits.

        Raises:
            UpstreamTruncatedError: one event is larger than `max_event_bytes`.
        """
        held = self._held
        if not held and data.endswith(b"\n\n"):
            return data
        seen = len(held)
        held += data
        end = last_end(held, max(0, seen - 3))
        whole = bytes(held[:end])
        del held[:end]
        if len(held) > self._max:
            raise UpstreamTruncatedError(f"an event is larger than {self._max} bytes")
        return whole

    @property
    def begun(self) -> bool:
        """Whether part of an event waits for its end."""
        return bool(self._held.strip())


def last_end(data: bytes | bytearray, start: int = 0) -> int:
    """Where the last whole event of `data` ends, looked for from `start` on; 0 if none does."""
    ends = (at + len(end) for end in _ENDS if (at := data.rfind(end, start)) >= 0)
    return max(ends, default=0)


def string_bytes(strings: re.Pattern[bytes], data: bytes) -> int:
    """Bytes in UTF-8 of the JSON strings in `data` whose insides are the group of `strings`."""
    return sum(len(_unescaped(each)) for each in strings.findall(data))


def _unescaped(inside: bytes) -> bytes:
    if b"\\" not in inside:
        return inside
    try:
        text = json.loads(b'"%b"' % inside)
    except ValueError:
        return inside
    return str(text).encode("utf-8", "surrogatepass")


def frame(payload: bytes, event: bytes = b"") -> bytes:
    """One event as bytes; `payload` must hold no line break."""
    if event:
        return b"event: " + event + b"\ndata: " + payload + b"\n\n"
    return b"data: " + payload + b"\n\n"


def comment(text: bytes = b"keep-alive") -> bytes:
    """A comment line, which resets a proxy's timer and is no event."""
    return b": " + text + b"\n\n"

"""Server-sent events, both ways: bytes in, payloads out, however they are split.

Source: the WHATWG HTML standard, section 9.2. Lines end in LF, CR or CRLF; a line that
starts with a colon is a comment; several data lines of one event are joined by LF; an
event without its blank line at the end of the stream is kept for `flush`.
"""

from llm_gateway_api.errors import UpstreamTruncatedError

MAX_EVENT_BYTES = 32 * 1024 * 1024
_OTHERS = (b"", b"id", b"retry")  # a comment, and fields that say nothing here


class SSEParser:
    """Splits a byte stream into events, in time linear to its length.

    With `keep_stray` the lines that are no field of an event are kept in `stray`: vendors
    write an error as bare JSON into a stream.
    """

    __slots__ = (
        "_buffer", "_data", "_event", "_max", "_scanned", "_size", "_skip_lf", "_stray",
        "stray",
    )  # fmt: skip

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES, *, keep_stray: bool = False) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._data: list[bytes] = []
        self._size = 0
        self._stray = 0
        self._event = b""
        self._skip_lf = False
        self._max = max_event_bytes
        self.stray: list[bytes] | None = [] if keep_stray else None

    def feed(self, data: bytes) -> list[bytes]:
        """Return the data of each event that `data` completes."""
        return [payload for _, payload in self.feed_events(data)]

    def feed_events(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """Like `feed`, with the event's name (empty where there is none).

        Raises:
            UpstreamTruncatedError: one event is larger than `max_event_bytes`.
        """
        events: list[tuple[bytes, bytes]] = []
        if self._skip_lf and data:
            self._skip_lf = False
            if data[:1] == b"\n":
                data = data[1:]
        buffer = self._buffer
        buffer += data
        start = 0
        if b"\r" in buffer:
            start = self._take_mixed_lines(events)
        else:
            at = buffer.find(b"\n", self._scanned)
            while at >= 0:
                self._line(bytes(buffer[start:at]), events)
                start = at + 1
                at = buffer.find(b"\n", start)
        if start:
            del buffer[:start]
        self._scanned = len(buffer)
        if len(buffer) + self._size + self._stray > self._max:
            raise UpstreamTruncatedError(f"an event is larger than {self._max} bytes")
        return events

    def flush(self) -> list[tuple[bytes, bytes]]:
        """Return the last event where the stream ended without its blank line."""
        events: list[tuple[bytes, bytes]] = []
        if self._buffer:
            self._line(bytes(self._buffer), events)
            self._buffer.clear()
            self._scanned = 0
        self._line(b"", events)
        return events

    @property
    def pending(self) -> bool:
        """Whether part of an event has arrived and its end has not."""
        return bool(self._buffer or self._data)

    def _take_mixed_lines(self, events: list[tuple[bytes, bytes]]) -> int:
        buffer = self._buffer
        start = 0
        position = self._scanned
        length = len(buffer)
        while position < length:
            byte = buffer[position]
            if byte == 10:
                self._line(bytes(buffer[start:position]), events)
                position = start = position + 1
            elif byte == 13:
                self._line(bytes(buffer[start:position]), events)
                position += 1
                if position == length:
                    self._skip_lf = True
                elif buffer[position] == 10:
                    position += 1
                start = position
            else:
                lf = buffer.find(b"\n", position)
                cr = buffer.find(b"\r", position)
                ends = [end for end in (lf, cr) if end >= 0]
                position = min(ends) if ends else length
        return start

    def _line(self, line: bytes, events: list[tuple[bytes, bytes]]) -> None:
        if not line:
            if self._data:
                events.append((self._event, b"\n".join(self._data)))
                self._data = []
                self._size = 0
            self._event = b""
            return
        if line.startswith(b"\xef\xbb\xbf"):
            line = line[3:]
        name, _colon, value = line.partition(b":")
        if value[:1] == b" ":
            value = value[1:]
        if name == b"data":
            self._data.append(value)
            self._size += len(value)
        elif name == b"event":
            self._event = value
        elif self.stray is not None and name not in _OTHERS:
            self.stray.append(line)
            self._stray += len(line)


def frame(payload: bytes, event: bytes = b"") -> bytes:
    """One event as bytes; `payload` must hold no line break."""
    if event:
        return b"event: " + event + b"\ndata: " + payload + b"\n\n"
    return b"data: " + payload + b"\n\n"


def comment(text: bytes = b"keep-alive") -> bytes:
    """A comment line, which resets a proxy's timer and is no event."""
    return b": " + text + b"\n\n"

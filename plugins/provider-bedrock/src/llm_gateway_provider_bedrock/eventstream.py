"""The frames of ``application/vnd.amazon.eventstream``: bytes in, messages out.

Source: "Event stream encoding" of the Amazon Transcribe developer guide. All integers are
big-endian::

    total length u32 | headers length u32 | CRC-32 of these 8 bytes
    headers: name length u8 | name | type u8 | value      (repeated)
    payload: total length - headers length - 16 bytes
    CRC-32 of all that stands before it
"""

import struct
from zlib import crc32

import llm_gateway_api as gw
import msgspec

PRELUDE = 12
OVERHEAD = 16
MAX_HEADERS = 128 * 1024
MAX_MESSAGE = 24 * 1024 * 1024 + MAX_HEADERS + OVERHEAD
# Bytes of a value by the type of its header; the types 6 and 7 say their own length.
WIDTHS = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
BYTES, STRING = 6, 7
_LENGTHS = struct.Struct(">III")


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One message: its string headers by name, and its payload."""

    headers: dict[str, str]
    payload: bytes


class FrameParser:
    """Splits a stream into frames, in time linear to its length; keeps no frame."""

    __slots__ = ("_buffer", "_known", "_needed")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._needed = PRELUDE
        self._known: dict[bytes, dict[str, str]] = {}  # a stream repeats a few heads

    @property
    def pending(self) -> bool:
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that `data` completes.

        Raises:
            UpstreamTruncatedError: a checksum, a length or a header is wrong. What stands
                after it cannot be trusted, so the parser is of no use any more.
        """
        buffer = self._buffer
        buffer += data
        if len(buffer) < self._needed:
            return []
        frames: list[Frame] = []
        start, size = 0, len(buffer)
        while size - start >= PRELUDE:
            total, head, checksum = _LENGTHS.unpack_from(buffer, start)
            if crc32(buffer[start : start + 8]) != checksum:
                raise gw.UpstreamTruncatedError("a frame's prelude does not match its checksum")
            if head > MAX_HEADERS or not head + OVERHEAD <= total <= MAX_MESSAGE:
                raise gw.UpstreamTruncatedError("a frame has impossible lengths")
            self._needed = total
            if size - start < total:
                break
            frames.append(self._frame(bytes(buffer[start : start + total]), head))
            start += total
            self._needed = PRELUDE
        del buffer[:start]
        return frames

    def _frame(self, message: bytes, head: int) -> Frame:
        if crc32(message[:-4]) != int.from_bytes(message[-4:], "big"):
            raise gw.UpstreamTruncatedError("a frame does not match its checksum")
        raw = message[PRELUDE : PRELUDE + head]
        headers = self._known.get(raw)
        if headers is None:
            headers = read_headers(raw)
            if len(self._known) < 64:
                self._known[raw] = headers
        return Frame(headers, message[PRELUDE + head : -4])


def read_headers(raw: bytes) -> dict[str, str]:
    """The headers whose value is a string; those of other types are stepped over."""
    found: dict[str, str] = {}
    at, end = 0, len(raw)
    try:
        while at < end:
            stop = at + 1 + raw[at]
            name, kind = raw[at + 1 : stop].decode(), raw[stop]
            at = stop + 1
            if kind in (BYTES, STRING):
                width = int.from_bytes(raw[at : at + 2], "big")
                at += 2
            else:
                width = WIDTHS[kind]
            if at + width > end:
                raise IndexError(at)
            if kind == STRING:
                found[name] = raw[at : at + width].decode()
            at += width
    except (IndexError, KeyError, UnicodeDecodeError) as error:
        raise gw.UpstreamTruncatedError("a frame's headers make no sense") from error
    return found

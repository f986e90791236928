"""The frame parser: any split, every header type, and nothing that is damaged gets through."""

import contextlib
import itertools
import struct
import zlib

import llm_gateway_api as gw
import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given, settings
from hypothesis import strategies as st
from llm_gateway_provider_bedrock.eventstream import Frame, FrameParser
from llm_gateway_testkit import eventstream

DELTA = bytes.fromhex(
    "0000009400000057b4ab9aee0b3a6576656e742d74797065070011636f6e74656e74426c6f636b44656c74610d3a"
    "636f6e74656e742d747970650700106170706c69636174696f6e2f6a736f6e0d3a6d6573736167652d7479706507"
    "00056576656e747b22636f6e74656e74426c6f636b496e646578223a302c2264656c7461223a7b2274657874223a"
    "224869227d7d1f944657"
)
EXCEPTION = bytes.fromhex(
    "0000008e00000061514180540f3a657863657074696f6e2d747970650700137468726f74746c696e674578636570"
    "74696f6e0d3a636f6e74656e742d747970650700106170706c69636174696f6e2f6a736f6e0d3a6d657373616765"
    "2d74797065070009657863657074696f6e7b226d657373616765223a22546f6f206d616e7920746f6b656e73227d"
    "c81b1ec1"
)


def parsed(*pieces: bytes) -> list[Frame]:
    parser = FrameParser()
    return [frame for piece in pieces for frame in parser.feed(piece)]


def test_recorded_event() -> None:
    """A frame that botocore decodes comes to the same here."""
    (frame,) = parsed(DELTA)

    assert frame.headers == {
        ":event-type": "contentBlockDelta",
        ":content-type": "application/json",
        ":message-type": "event",
    }
    assert frame.payload == b'{"contentBlockIndex":0,"delta":{"text":"Hi"}}'


def test_recorded_exception() -> None:
    (frame,) = parsed(EXCEPTION)

    assert frame.headers[":exception-type"] == "throttlingException"
    assert frame.payload == b'{"message":"Too many tokens"}'


def test_scripted_frames_are_the_recorded_ones() -> None:
    """What the scripted server writes is, byte for byte, what was recorded."""
    payload = {"contentBlockIndex": 0, "delta": {"text": "Hi"}}

    assert eventstream.event("contentBlockDelta", payload) == DELTA
    assert eventstream.exception("throttlingException", "Too many tokens") == EXCEPTION


@pytest.mark.parametrize("cut", range(len(DELTA + EXCEPTION) + 1))
def test_any_split(cut: int) -> None:
    """Frames do not depend on where the network splits the bytes."""
    data = DELTA + EXCEPTION

    assert parsed(data[:cut], data[cut:]) == parsed(data)


def test_byte_by_byte() -> None:
    data = DELTA + EXCEPTION

    assert parsed(*(data[at : at + 1] for at in range(len(data)))) == parsed(data)


def test_five_frames_in_one_read() -> None:
    assert len(parsed(DELTA * 5)) == 5


@pytest.mark.parametrize("at", range(len(DELTA)))
def test_any_damaged_byte_is_seen(at: int) -> None:
    """A flipped bit anywhere raises, or leaves a frame that never completes."""
    damaged = bytearray(DELTA)
    damaged[at] ^= 0x10

    with pytest.raises(gw.UpstreamTruncatedError):
        parsed(bytes(damaged))


def test_header_types_are_stepped_over() -> None:
    """Headers of all ten types; only strings are kept."""
    values = {
        0: b"",
        1: b"",
        2: b"\x01",
        3: b"\x01\x02",
        4: b"\x01\x02\x03\x04",
        5: bytes(8),
        6: b"\x00\x03abc",
        8: bytes(8),
        9: bytes(16),
    }
    raw = b"".join(b"\x01" + b"%d" % kind + bytes([kind]) + value for kind, value in values.items())
    data = eventstream.message({":event-type": "x"}, b"{}", raw + b"\x01s\x07\x00\x02\xc3\xa9")

    (frame,) = parsed(data)

    assert frame.headers == {":event-type": "x", "s": "é"}
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    assert set(next(iter(buffer)).headers) == {":event-type", "s", *(str(kind) for kind in values)}


@pytest.mark.parametrize(
    "raw", [b"\x05ab", b"\x01a", b"\x01a\x0a", b"\x01a\x07\x00\x09b", b"\x01a\x07\x00\x01\xff"]
)
def test_headers_that_make_no_sense(raw: bytes) -> None:
    with pytest.raises(gw.UpstreamTruncatedError):
        parsed(eventstream.message({}, b"{}", raw))


@pytest.mark.parametrize(
    ("total", "head"), [(15, 0), (16, 1), (2**31, 0), (200 * 1024, 129 * 1024)]
)
def test_impossible_lengths(total: int, head: int) -> None:
    """Lengths are judged before anything of such a size is waited for."""
    prelude = struct.pack(">II", total, head)

    with pytest.raises(gw.UpstreamTruncatedError, match="lengths"):
        parsed(prelude + struct.pack(">I", zlib.crc32(prelude)))


def test_many_frames_take_linear_time() -> None:
    """A big read of small frames copies nothing twice: 20,000 frames are no matter."""
    assert len(parsed(DELTA * 20_000)) == 20_000


@settings(max_examples=100, deadline=None)
@given(
    frames=st.lists(st.tuples(st.text(max_size=20), st.binary(max_size=100)), max_size=5),
    cuts=st.lists(st.integers(0, 600), max_size=6),
)
def test_what_is_written_is_read(frames: list[tuple[str, bytes]], cuts: list[int]) -> None:
    """Any frames, split anywhere."""
    data = b"".join(eventstream.message({":event-type": n}, p) for n, p in frames)
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})

    found = parsed(*(data[a:b] for a, b in itertools.pairwise(edges)))

    assert found == [Frame({":event-type": n}, p) for n, p in frames]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_garbage_raises_or_waits(data: bytes) -> None:
    """Whatever comes, it is no frame and no other exception."""
    with contextlib.suppress(gw.UpstreamTruncatedError):
        assert parsed(data) == []

"""Server-sent events, however they are cut and whatever ends their lines."""

import re

import pytest
from llm_gateway_api import SSEBlocks, SSEParser, UpstreamTruncatedError, string_bytes

TEXT = (
    b": hello\n\ndata: one\n\n\nevent: named\ndata:two\ndata: more\nid: 7\n\n"
    b"event: nameless\n\ndata: \n\ndata\n\nretry: 3\ndata:  kept space\n\ndata: last"
)
EVENTS = [
    (b"", b"one"),
    (b"named", b"two\nmore"),
    (b"", b""),
    (b"", b""),
    (b"", b" kept space"),
    (b"", b"last"),
]


def read(*pieces: bytes) -> list[tuple[bytes, bytes]]:
    parser = SSEParser()
    found = [event for piece in pieces for event in parser.feed_events(piece)]
    return found + parser.flush()


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"], ids=["LF", "CR", "CRLF"])
def test_a_stream_gives_the_same_events_wherever_it_is_cut(end: bytes) -> None:
    stream = TEXT.replace(b"\n", end)
    assert read(stream) == EVENTS
    for at in range(len(stream)):
        assert read(stream[:at], stream[at:]) == EVENTS
    assert read(*(stream[at : at + 1] for at in range(len(stream)))) == EVENTS


def test_an_event_is_told_with_the_piece_that_completes_it() -> None:
    parser = SSEParser()
    assert parser.feed(b"data: one\n") == []
    assert parser.feed(b"\ndata: t") == [b"one"]
    assert parser.feed(b"wo\n\n") == [b"two"]
    assert parser.flush() == []


def test_a_byte_order_mark_before_the_first_field_is_skipped() -> None:
    assert read(b"\xef\xbb", b"\xbfdata: one\n\n") == [(b"", b"one")]


def test_lines_that_are_no_field_are_kept_where_they_are_wanted() -> None:
    parser = SSEParser(keep_stray=True)
    assert parser.feed(b'data: one\n\n{\n "error": {}\n}\n') == [b"one"]
    assert parser.flush() == []
    assert parser.stray == [b"{", b' "error": {}', b"}"]


def test_an_event_without_an_end_is_not_kept_for_ever() -> None:
    parser = SSEParser(100)
    assert parser.feed(b"data: " + b"x" * 90 + b"\n\ndata: " + b"x" * 90)
    with pytest.raises(UpstreamTruncatedError, match="larger than 100 bytes"):
        parser.feed(b"x" * 10)


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"], ids=["LF", "CR", "CRLF"])
def test_whole_events_pass_as_they_came_wherever_they_are_cut(end: bytes) -> None:
    stream = TEXT.replace(b"\n", end)
    for at in range(len(stream)):
        blocks = SSEBlocks()
        first, second = blocks.feed(stream[:at]), blocks.feed(stream[at:])
        assert all(not each or each.endswith(2 * end) for each in (first, second))
        assert first + second + blocks.feed(2 * end) == stream + 2 * end
        assert not blocks.begun


def test_strings_are_measured_as_what_they_mean() -> None:
    """However they are written; what ends within an escape counts as it stands."""
    text = re.compile(rb'"text":"((?:[^"\\]|\\.)*)"')
    data = '{"text":"caf\u00e9"}{"text":"a\\n\\u6f6e"}{"text":"\\ud83d"}{"text":"\\x"}{"text":"cut'

    assert string_bytes(text, data.encode()) == 5 + 5 + 3 + 2

"""What an answer used that ended before its end: the vendor's figures, and what they leave open."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import llm_gateway_api as gw
import pytest
from llm_gateway.counting import FRAME_BYTES, TEXT_BYTES_PER_TOKEN, passed
from llm_gateway.lanes import TranslateLane
from llm_gateway.pipeline import Call
from llm_gateway.unfinished import so_far

ASKED = gw.Message("user", (gw.TextPart("a" * 35),))
INPUT = 18  # of ASKED
TEXT = gw.TextDelta("b" * 7)  # two tokens


class Silent:
    def render(self, events: Sequence[gw.Event]) -> bytes:
        return b""

    def finish(self) -> bytes:
        return b""


class Bytes:
    """A lane of bytes that pass unread."""

    committed = True
    finish_reason: str | None = None

    def __init__(self, usage: gw.Usage | None = None) -> None:
        self.usage = usage


class Telling(Bytes):
    """Its texts stand in brackets."""

    def said(self, data: bytes) -> int:
        return sum(len(each.partition(b"]")[0]) for each in data.split(b"[")[1:])


@dataclass
class Stream:
    """Stands for the one that is passed on: `told` with its first content, `tokens` long."""

    told: gw.Usage | None
    tokens: float

    def output(self) -> float:
        return self.tokens


def call(operation: str = "chat", **known: Any) -> Call:
    unused: Any = None
    arrival = gw.Arrival("r-1", "POST", "/", "", {}, "", 0.0)
    head = gw.RequestHead("d", operation, "m", True, False, {}, b"{}")
    request = gw.ChatRequest("m", (ASKED,))
    return Call(arrival, unused, unused, head, request=request, **{"sent": True, **known})


def read(*events: gw.Event) -> TranslateLane:
    lane = TranslateLane(None, Silent())
    lane.render(events)
    return lane


def report(**meters: int) -> gw.UsageReport:
    return gw.UsageReport(gw.Usage(**meters))


def test_nobody_who_was_not_asked_is_paid() -> None:
    assert so_far(call(sent=False)) is None


@pytest.mark.parametrize("operation", ["count_tokens", "rerank"])
def test_what_is_not_billed_by_the_token_is_not_guessed(operation: str) -> None:
    assert so_far(call(operation)) is None


def test_before_the_answer_only_what_was_asked_is_known() -> None:
    assert so_far(call()) == gw.Usage(input=INPUT, estimated=True)
    assert so_far(call("embeddings")) == gw.Usage(input=INPUT, estimated=True)
    assert so_far(call(reading=read(gw.Started("id", "m")))) == gw.Usage(
        input=INPUT, estimated=True
    )


def test_without_figures_of_the_vendor_all_is_estimated() -> None:
    assert so_far(call(reading=read(TEXT, TEXT))) == gw.Usage(input=INPUT, output=4, estimated=True)


def test_figures_from_before_the_answer_stand_and_the_rest_is_added() -> None:
    lane = read(report(input=9, cache_read=100, output=1), TEXT, TEXT)

    assert so_far(call(reading=lane)) == gw.Usage(input=9, cache_read=100, output=5, estimated=True)


def test_a_vendor_that_counts_along_is_believed() -> None:
    lane = read(report(input=9, output=1), TEXT, report(input=9, output=40), TEXT)

    assert so_far(call(reading=lane)) == gw.Usage(input=9, output=40)


def test_figures_that_came_with_the_end_are_final() -> None:
    lane = read(TEXT, gw.Finished("stop"), report(input=9, output=3))

    assert so_far(call(reading=lane)) == gw.Usage(input=9, output=3)


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (None, None, gw.Usage(input=INPUT, output=8, estimated=True)),
        (gw.Usage(input=9, output=1), gw.Usage(input=9, output=1), gw.Usage(9, output=9)),
        (gw.Usage(input=9, output=1), gw.Usage(input=9, output=30), gw.Usage(9, output=30)),
    ],
    ids=["nothing told", "told before", "told along"],
)
def test_of_bytes_that_passed_unread(
    first: gw.Usage | None, last: gw.Usage | None, expected: gw.Usage
) -> None:
    stream: Any = Stream(first, 7.2)
    found = so_far(call(reading=Bytes(last), streaming=stream))

    assert found is not None
    assert (found.input, found.output) == (expected.input, expected.output)
    assert found.estimated == (first == last)


def test_bytes_of_which_nothing_else_is_known_are_frames() -> None:
    assert passed(FRAME_BYTES * 3, b"[text]", Bytes()) == 3
    assert passed(FRAME_BYTES * 3, b"", Telling()) == 3


def test_a_short_stream_is_measured() -> None:
    data = b"begin of a stream\n\n{[text]}\n\n"

    assert passed(len(data), data, Telling()) == 4 / TEXT_BYTES_PER_TOKEN


def test_a_long_stream_is_like_what_was_seen_of_it() -> None:
    """But for its beginning, which comes once."""
    begin, each = b"x" * 400 + b"\n\n", b"{[seven..]}\n\n"
    sample = begin + each * 100
    whole = len(begin) + len(each) * 10_000

    found = passed(whole, sample, Telling())

    assert found == pytest.approx(10_000 * 7 / TEXT_BYTES_PER_TOKEN, rel=0.01)
    assert math.isclose(passed(whole, sample[:-5], Telling()), found, rel_tol=0.01)

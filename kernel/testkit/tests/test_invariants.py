"""The kit's own rules catch what breaks them."""

import json
import subprocess
import sys
from typing import Any

import llm_gateway_api as gw
import pytest
from llm_gateway_testkit import cases, invariants, report

END = gw.Finished("stop")


@pytest.mark.parametrize(
    ("events", "text"),
    [
        ([gw.TextDelta("a")], "nothing finished"),
        ([gw.TextDelta("a"), gw.Started("x"), END], "Started stands at"),
        ([END, gw.TextDelta("a")], "after the end of its choice"),
        ([END, END], "finished twice"),
        ([gw.ToolCallDelta(1, "a", "f"), END], "before call 0"),
        ([gw.ToolCallDelta(0), END], "without id and name"),
        ([gw.ToolCallDelta(0, "a", "f"), gw.ToolCallDelta(0, "a", "f"), END], "repeats id or name"),
        ([gw.UsageReport(gw.Usage(input=-1)), END], "input is -1"),
    ],
)
def test_wrong_grammar_of_events_is_caught(events: list[gw.Event], text: str) -> None:
    with pytest.raises(AssertionError, match=text):
        invariants.check_answer(events)


def test_meters_that_count_twice_are_caught() -> None:
    """Cached tokens that are still part of the fresh ones exceed the vendor's total."""
    usage = gw.Usage(input=10, cache_read=4, output=2)

    with pytest.raises(AssertionError, match="input adds up to 14, not to 10"):
        invariants.check_usage([usage], {"input": 10, "output": 2})


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        ({"m": [1]}, {"m": [1, 2]}, True),
        ({"m": [1], "t": 0}, {"m": [1, 2], "t": 0}, True),
        ({"a": 1, "m": [1]}, {"m": [1, 2], "a": 1}, False),
        ({"m": [1, 2]}, {"m": [2, 1, 3]}, False),
        ({"m": [{"c": ["x"]}]}, {"m": [{"c": ["x", "y"]}]}, True),
        ({"m": [{"c": ["x"]}, 1]}, {"m": [{"c": ["x", "y"]}, 1]}, False),
        ({"n": 1}, {"n": 2}, False),
    ],
)
def test_only_what_is_added_at_the_end_keeps_a_prefix(
    before: object, after: object, kept: bool
) -> None:
    assert invariants.extends(before, after) is kept


class Silent:
    """Loses what it does not know without a word, and takes every error for the server's."""

    def encode(self, request: gw.ChatRequest) -> gw.UpstreamRequest:
        return gw.UpstreamRequest("POST", "http://x", {}, b"{}", lambda: None)  # type: ignore[arg-type,return-value]  # never decoded

    def classify(self, status: int, headers: gw.Headers, body: bytes) -> gw.UpstreamError:
        return gw.UpstreamError(gw.FailureClass.SERVER_ERROR, "no", upstream_status=status)

    def models(self) -> list[gw.ModelInfo]:
        return []


def test_field_that_is_lost_in_silence_is_caught() -> None:
    with pytest.raises(AssertionError, match="lost in silence"):
        invariants.check_unknown(Silent(), gw.ChatRequest("m", ()))
    with pytest.raises(AssertionError, match="one in a turn was lost in silence"):
        invariants.check_unknown_inside(Silent(), gw.ChatRequest("m", ()))


def test_tool_of_another_vendor_that_is_lost_in_silence_is_caught() -> None:
    with pytest.raises(AssertionError, match="lost in silence"):
        invariants.check_foreign_tool(Silent(), gw.ChatRequest("m", ()))


def test_status_with_a_wrong_class_is_caught() -> None:
    with pytest.raises(AssertionError, match="400 is server_error"):
        invariants.check_table(Silent())


def one(**members: Any) -> cases.Case:
    raw = {"name": "x", "kind": "acme", "request": {"type": "chat", "model": "m", "messages": []}}
    return cases.case({**raw, "events": [], **members})


def test_report_has_a_level_for_each_capability() -> None:
    found = report.Report()
    found.claim("acme_plugin", "acme", {"chat", "streaming"})
    found.take("acme", report.capabilities(one()), "hello", True)
    found.take("acme", {"tools"}, "call", True)
    found.take("acme", {"tools"}, "call", False)

    levels = {each: found.level("acme", each) for each in ("chat", "stream", "tools", "vision")}

    assert levels == {"chat": "proven", "stream": "claimed", "tools": "failing", "vision": "absent"}
    assert "| tools | failing |" in found.markdown()
    assert json.loads(found.json())["acme"]["capabilities"]["tools"]["failing"] == ["call"]


def test_new_is_a_command_among_the_kernels_own() -> None:
    """``llm-gateway plugins`` shows it beside list, show and check, and runs it."""
    told = subprocess.run(
        [sys.executable, "-m", "llm_gateway", "plugins", "new", "--help"],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert told.returncode == 0 and "--base-url" in told.stdout

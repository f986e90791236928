"""What the client has, and what another attempt adds to it: nothing twice, nothing lost."""

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import llm_gateway_api as gw
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llm_gateway.continuing import Continuing, Joint, Partial, added, safe
from llm_gateway.lanes import TranslateLane
from llm_gateway.pipeline import Call
from llm_gateway.progress import Progress

F = gw.FailureClass
A, B, C = gw.Target("acme", "a"), gw.Target("beta", "b"), gw.Target("gamma", "c")
ASKED = gw.Asked(
    gw.Arrival("r-1", "POST", "/", "", {}, "127.0.0.1", 0.0), "m", "chat", True, 2, False, False
)
USER = gw.Message("user", (gw.TextPart("When is low tide?"),))
CUT = gw.UpstreamError(F.BROKEN_AFTER_COMMIT, "cut")


class Texts:
    """Bytes are JSON lists: texts, a usage, or ``true`` for the end."""

    def feed(self, data: bytes) -> list[gw.Event]:
        found: list[gw.Event] = []
        for each in json.loads(data):
            if isinstance(each, str):
                found.append(gw.TextDelta(each))
            elif isinstance(each, dict):
                found.append(gw.UsageReport(gw.Usage(**each)))
            else:
                found.append(gw.Finished("stop"))
        return found

    def finish(self) -> list[gw.Event]:
        return []


class Shown:
    """What the client sees."""

    def __init__(self) -> None:
        self.text = ""
        self.usage: gw.Usage | None = None

    def render(self, events: Sequence[gw.Event]) -> bytes:
        for each in events:
            if isinstance(each, gw.TextDelta):
                self.text += each.text
            elif isinstance(each, gw.UsageReport):
                self.usage = each.usage
        return b"." if any(isinstance(each, gw.TextDelta) for each in events) else b""

    def finish(self) -> bytes:
        return b"!"


class Able:
    """A provider whose models take the beginning of an answer, but for `unable`."""

    def __init__(self, how: gw.Prefill = "continues", unable: str = "") -> None:
        self._how: gw.Prefill = how
        self._unable = unable

    def prefill(self, request: gw.ChatRequest) -> gw.Prefill | None:
        return None if request.model == self._unable else self._how


def call(lane: TranslateLane | None = None, **params: Any) -> Call:
    """A streamed chat under way."""
    unused: Any = None
    choice = params.pop("tool_choice", None)
    messages = params.pop("messages", (USER,))
    request = gw.ChatRequest("m", messages, params=params, stream=True, tool_choice=choice)
    head = gw.RequestHead("d", "chat", "m", True, False, {}, b"{}")
    return Call(ASKED.arrival, unused, unused, head, request=request, lane=lane)


def pieces(text: str, cuts: Sequence[int]) -> bytes:
    places = sorted({each % (len(text) + 1) for each in cuts} | {0, len(text)})
    return json.dumps([text[a:b] for a, b in pairwise(places)]).encode()


@given(
    text=st.text(alphabet="ab \n", min_size=1, max_size=40),
    breaks=st.lists(st.integers(1, 40), max_size=4),
    cuts=st.lists(st.integers(0, 40), max_size=6),
    how=st.sampled_from(["continues", "repeats"]),
)
def test_parts_are_one_text(text: str, breaks: list[int], cuts: list[int], how: gw.Prefill) -> None:
    """However often it broke, wherever, in whatever pieces the rest comes: the whole text, once;
    and usage that adds up."""
    shown = Shown()
    lane = TranslateLane(Texts(), shown)
    places = [each for each in sorted({*breaks, len(text)}) if each <= len(text)]
    lane.feed(pieces(text[: places[0]], cuts))
    partial = Partial(lane, CUT)
    parts = 1
    for place in places[1:]:
        known = partial.text.rstrip()
        if not known:
            return  # nothing to begin with
        partial.parts.append((A, gw.Usage(input=3, output=1, estimated=True)))
        lane.go_on(Texts(), Joint(partial, B, how))
        parts += 1
        rest = text[: max(place, len(known))]
        lane.feed(pieces(rest[len(known) :] if how == "continues" else rest, cuts))

    assert shown.text == partial.text == text
    lane.feed(json.dumps([{"input": 3, "output": 1}, True]).encode())
    lane.finish()
    assert lane.usage == shown.usage
    assert lane.usage is not None
    assert (lane.usage.input, lane.usage.output) == (3 * parts, parts)


def test_part_without_usage_is_estimated() -> None:
    """What its vendor does not say is a guess at the rest of the text."""
    shown = Shown()
    lane = TranslateLane(Texts(), shown, guess=lambda events: gw.Usage(input=5, output=9))
    lane.feed(b'["Low"]')
    seam = Joint(Partial(lane, CUT, [(A, gw.Usage(input=4, output=3))]), B, "continues")
    lane.go_on(Texts(), seam)
    lane.feed(b'[" tide", true]')

    lane.finish()

    assert lane.usage == shown.usage == gw.Usage(input=9, output=9)
    assert seam.own == gw.Usage(input=5, output=6)


def test_seam_is_marked_once() -> None:
    """With a comment, before the first bytes of the next part."""
    lane = TranslateLane(Texts(), Shown())
    lane.feed(b'["Low"]')
    partial = Partial(lane, CUT, [(A, gw.Usage(output=1))])
    lane.go_on(Texts(), Joint(partial, B, "repeats"))

    assert lane.feed(b'["Lo"]') == b""
    assert not lane.committed
    assert lane.feed(b'["w", " tide"]') == b": continued by beta\n\n."
    assert lane.feed(b'["."]') == b"."


@pytest.mark.parametrize("answer", [b'["High"]', b'["L", true]'])
def test_another_text_is_no_continuation(answer: bytes) -> None:
    """An answer that should repeat the text and does not is a broken one."""
    lane = TranslateLane(Texts(), Shown())
    lane.feed(b'["Low"]')
    lane.go_on(Texts(), Joint(Partial(lane, CUT, [(A, gw.Usage())]), B, "repeats"))

    with pytest.raises(gw.UpstreamTruncatedError):
        lane.feed(answer)


def test_next_attempt_gets_the_text_and_the_rest_of_the_limit() -> None:
    """The blanks at its end stay behind: vendors refuse them."""
    lane = TranslateLane(Texts(), Shown())
    lane.feed(b'["Low tide \\n"]')
    partial = Partial(lane, CUT, [(A, gw.Usage(input=9, output=30))])

    asked = partial.goes_on(call(max_tokens=100, temperature=0).canonical())

    assert asked.messages == (
        USER,
        gw.Message("assistant", (gw.TextPart("Low tide"),), text_only=True),
    )
    assert asked.params == {"max_tokens": 70, "temperature": 0}


@pytest.mark.parametrize(
    ("params", "is_safe"),
    [
        ({}, True),
        ({"n": 1, "logprobs": False, "response_format": {"type": "text"}}, True),
        ({"tool_choice": gw.ToolChoice("auto")}, True),
        ({"n": 2}, False),
        ({"logprobs": True}, False),
        ({"response_format": {"type": "json_schema"}}, False),
        ({"audio": {"voice": "a"}}, False),
        ({"tool_choice": gw.ToolChoice("required")}, False),
    ],
)
def test_what_is_asked_for_may_forbid_it(params: dict[str, Any], is_safe: bool) -> None:
    """A structure, choices, probabilities, a forced tool."""
    lane = TranslateLane(None, Shown())
    lane.render([gw.Started(), gw.TextDelta("Low"), gw.UsageReport(gw.Usage())])

    assert safe(call(**params), lane) is is_safe


@pytest.mark.parametrize(
    "event",
    [
        gw.ToolCallDelta(0, "call_1", "tide"),
        gw.ReasoningDelta("Hm."),
        gw.RefusalDelta("No."),
        gw.TextDelta("x", index=1),
        gw.TextDelta("x", logprobs={}),
        gw.Unknown("d", {}),
        gw.Finished("stop"),
    ],
)
def test_what_was_answered_may_forbid_it(event: gw.Event) -> None:
    """Anything but plain text."""
    lane = TranslateLane(None, Shown())
    lane.render([gw.TextDelta("Low"), event])

    assert not safe(call(), lane)


def broken(progress: Progress, under_way: Call, error: Exception = CUT) -> bool:
    continuing = Continuing((), {"acme": Able(), "beta": Able("repeats", unable="b")})
    return continuing.broken(under_way, progress, error)


def test_those_that_take_the_beginning_may_go_on() -> None:
    """The one that broke too; what it used is known, or estimated."""
    lane = TranslateLane(None, Shown())
    lane.render([gw.TextDelta("Low tide is at noon.")])
    under_way, progress = call(lane), Progress(ASKED, [A, B, C], A)

    assert broken(progress, under_way)

    assert progress.continuable == (A,)
    assert under_way.partial is not None
    ((target, used),) = under_way.partial.parts
    assert target == A
    assert used.estimated
    assert (used.input, used.output) == (13, 6)


@pytest.mark.parametrize(
    ("targets", "messages", "text", "error"),
    [
        ([B, C], (USER,), "Low", CUT),
        ([A], (USER, gw.Message("assistant", (gw.TextPart("At"),))), "Low", CUT),
        ([A], (USER,), " \n", CUT),
        ([A], (USER,), "Low", gw.RefusedError("a filter said no")),
    ],
)
def test_nobody_may_go_on(
    targets: list[gw.Target], messages: tuple[gw.Message, ...], text: str, error: Exception
) -> None:
    """Nobody is able, the request has a beginning of its own, there is no text, or it is no
    fault of the upstream."""
    lane = TranslateLane(None, Shown())
    lane.render([gw.TextDelta(text)])

    assert not broken(Progress(ASKED, targets, targets[0]), call(lane, messages=messages), error)


usages = st.builds(
    gw.Usage,
    input=st.integers(0, 9),
    cache_read=st.integers(0, 9),
    output=st.integers(0, 9),
    estimated=st.booleans(),
    billed_input=st.none() | st.integers(0, 9),
)


@given(st.lists(usages, min_size=1, max_size=4))
def test_meters_add_up(parts: list[gw.Usage]) -> None:
    """Each for itself; what is charged is the sum of what is charged for the parts."""
    total = added(parts)

    assert total.input_total == sum(each.input_total for each in parts)
    assert total.output_total == sum(each.output_total for each in parts)
    assert total.charged.input_total == sum(each.charged.input_total for each in parts)
    assert total.estimated is any(each.estimated for each in parts)

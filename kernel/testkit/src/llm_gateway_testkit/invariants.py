"""What holds for every provider and every answer, whatever its case says."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import llm_gateway_api as gw
import msgspec
from llm_gateway_api import FailureClass as F

_BODY = (
    gw.TextDelta,
    gw.ReasoningDelta,
    gw.RefusalDelta,
    gw.ToolCallDelta,
)
# What is said, the tools, and the choice among them: the first members of a `gw.ChatRequest`
# behind its model.
_Asked: TypeAlias = tuple[tuple[gw.Message, ...], tuple[gw.Tool, ...] | None, gw.ToolChoice | None]
UNKNOWN = "x_kit_unknown"
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
)
# What a bare status means to everybody; a vendor may be more precise, never less.
TABLE: Mapping[int, frozenset[F]] = {
    400: frozenset({F.CALLER_FAULT}),
    401: frozenset({F.CREDENTIAL_REFUSED}),
    402: frozenset({F.ACCOUNT_EMPTY}),
    403: frozenset({F.CREDENTIAL_REFUSED, F.CONTENT_POLICY, F.ACCOUNT_EMPTY}),
    404: frozenset({F.MODEL_GONE}),
    408: frozenset({F.SERVER_ERROR, F.OVERLOADED}),
    413: frozenset({F.CALLER_FAULT, F.CONTEXT_TOO_LONG}),
    422: frozenset({F.CALLER_FAULT}),
    429: frozenset({F.RATE_LIMITED, F.ACCOUNT_EMPTY}),
    500: frozenset({F.SERVER_ERROR}),
    502: frozenset({F.SERVER_ERROR, F.OVERLOADED}),
    503: frozenset({F.OVERLOADED, F.SERVER_ERROR}),
    504: frozenset({F.SERVER_ERROR, F.OVERLOADED, F.NO_FIRST_CONTENT}),
    529: frozenset({F.OVERLOADED, F.SERVER_ERROR}),
}


def check_answer(events: Sequence[gw.Event], totals: Mapping[str, int] | None = None) -> None:
    """The grammar of events: one start, dense calls, one end for each choice, sound meters."""
    starts = [at for at, each in enumerate(events) if isinstance(each, gw.Started)]
    assert starts in ([], [0]), f"Started stands at {starts}"
    calls: dict[int, int] = {}
    finished: set[int] = set()
    for event in events:
        if isinstance(event, _BODY):
            assert event.index not in finished, f"{event!r} after the end of its choice"
        if isinstance(event, gw.ToolCallDelta):
            _check_call(event, calls)
        if isinstance(event, gw.Finished):
            assert event.index not in finished, f"choice {event.index} finished twice"
            finished.add(event.index)
    assert finished, "nothing finished"
    check_usage([each.usage for each in events if isinstance(each, gw.UsageReport)], totals or {})


def _check_call(event: gw.ToolCallDelta, calls: dict[int, int]) -> None:
    begun = calls.setdefault(event.index, 0)
    assert event.call <= begun, f"call {event.call} before call {begun}"
    if event.call == begun:
        assert event.id and event.name is not None, f"{event!r} begins without id and name"
        calls[event.index] += 1
    else:
        assert event.id is None and event.name is None, f"{event!r} repeats id or name"


def check_usage(reports: Sequence[gw.Usage], totals: Mapping[str, int]) -> None:
    """Meters are counts, and add up to what the vendor says in total: none counts twice."""
    for usage in reports:
        for name, value in msgspec.to_builtins(usage).items():
            count = type(value) is int and value >= 0
            assert count or value is None or isinstance(value, bool), f"{name} is {value!r}"
    if not totals:
        return
    assert reports, "totals are given and no usage is reported"
    last = reports[-1]
    found = {"input": last.input_total, "output": last.output_total}
    for name, value in totals.items():
        assert found[name] == value, f"{name} adds up to {found[name]}, not to {value}"


def check_prefix(provider: gw.Provider, request: gw.ChatRequest) -> None:
    """Translating the next turn extends what was sent of this one, so that prompt caches of
    vendors hit: nothing before the new turns changes, not even the order of members."""
    later = msgspec.structs.replace(request, messages=(*request.messages, *_next_turn()))
    before = json.loads(provider.encode(request).body)
    after = json.loads(provider.encode(later).body)
    assert extends(before, after), (
        f"the next turn changes what was sent:\n{json.dumps(before)}\n{json.dumps(after)}"
    )


def extends(before: Any, after: Any) -> bool:
    """Whether `after` is `before` with items added at the ends of lists, and texts of a
    list's last item made longer."""
    if isinstance(before, dict) and isinstance(after, dict):
        names = list(before)
        same = [name for name in after if name in before] == names
        return same and all(extends(before[name], after[name]) for name in names)
    if isinstance(before, list) and isinstance(after, list):
        if len(after) < len(before):
            return False
        last = len(before) - 1
        fixed = all(_same(before[at], after[at]) for at in range(last))
        return fixed and (last < 0 or extends(before[last], after[last]))
    return _same(before, after)


def _same(one: Any, other: Any) -> bool:
    return json.dumps(one) == json.dumps(other)


def _next_turn() -> tuple[gw.Message, ...]:
    return (
        gw.Message("assistant", (gw.TextPart("It is low."),), text_only=True),
        gw.Message("user", (gw.TextPart("And tomorrow?"),), text_only=True),
    )


def check_unknown(provider: gw.Provider, request: gw.ChatRequest) -> None:
    """What no table names is sent, reported as dropped, or refused: never lost in silence."""
    name = UNKNOWN
    for changed in (
        msgspec.structs.replace(request, extra={**request.extra, name: 1}),
        msgspec.structs.replace(request, params={**request.params, name: 1}),
        msgspec.structs.replace(request, dialect="kit.other", extra={**request.extra, name: 1}),
    ):
        try:
            sent = provider.encode(changed)
        except gw.ClientError as error:
            assert error.param == name, f"refused for {error.param!r}"
            continue
        assert name.encode() in sent.body or name in sent.dropped, f"{name} was lost in silence"


def check_unknown_inside(provider: gw.Provider, request: gw.ChatRequest) -> None:
    """The same for members of turns, parts, calls, results, tools and the choice among them, from
    a client of the request's dialect and from one of another."""
    for where, given in _places(gw.Message("user", (gw.TextPart("And now?"),))).items():
        for dialect in (request.dialect, "kit.other"):
            asked = gw.ChatRequest(request.model, *given, dialect=dialect)
            try:
                sent = provider.encode(asked)
            except gw.ClientError:  # told as well, or a model without tools or eyes
                continue
            told = any(each.rpartition(".")[2] == UNKNOWN for each in sent.dropped)
            assert told or UNKNOWN.encode() in sent.body, f"one in {where} was lost in silence"


def _places(first: gw.Message) -> dict[str, _Asked]:
    """Conversations that begin with `first`, with an unknown member in one place each."""
    extra: gw.Params = {UNKNOWN: 1}
    words = gw.TextPart("It is low.")
    shown = gw.ImagePart(None, "image/png", PIXEL, extra=extra)
    tool = gw.Tool("look", parameters={"type": "object", "properties": {}})

    def called(call: gw.Params, result: gw.Params) -> tuple[gw.Message, ...]:
        asked = gw.Message("assistant", (gw.ToolCallPart("call_1", "look", "{}", extra=call),))
        answered = gw.ToolResultPart("call_1", (words,), extra=result)
        return first, asked, gw.Message("tool", (answered,), text_only=True)

    def spoken(part: gw.Part) -> tuple[gw.Message, ...]:
        return first, gw.Message("assistant", (part, words)), first

    def chosen(mode: Literal["auto", "named"], *names: str) -> _Asked:
        return (first,), (tool,), gw.ToolChoice(mode, names, extra=extra)

    return {
        "a turn": ((first, gw.Message("user", (words,), text_only=True, extra=extra)), None, None),
        "an answer": ((first, gw.Message("assistant", (words,), extra=extra), first), None, None),
        "a text": ((first, gw.Message("user", (gw.TextPart("Low?", extra), words))), None, None),
        "a picture": ((gw.Message("user", (words, shown)),), None, None),
        "a tool": ((first,), (msgspec.structs.replace(tool, extra=extra),), None),
        "a call": (called(extra, {}), (tool,), None),
        "a call's result": (called({}, extra), (tool,), None),
        "a refusal": (spoken(gw.RefusalPart("No.", extra)), None, None),
        "a thought": (spoken(gw.ReasoningPart("Hm.", extra=extra)), None, None),
        "a free choice": chosen("auto"),
        "the choice of a tool": chosen("named", "look"),
    }


def check_foreign_tool(provider: gw.Provider, request: gw.ChatRequest) -> None:
    """A tool that another vendor runs is refused by its type, however tools are chosen."""
    foreign = gw.Tool("look", kind="vendor", extra={"type": "kit_search", "name": "look"})
    for choice in (None, gw.ToolChoice("auto"), gw.ToolChoice("none")):
        tools = (*(request.tools or ()), foreign)
        asked = msgspec.structs.replace(
            request, tools=tools, tool_choice=choice, params={}, dialect="kit.other"
        )
        try:
            provider.encode(asked)
        except gw.UnsupportedParameterError as error:
            assert (error.param or "").startswith("tools"), f"refused for {error.param!r}"
            assert "kit_search" in error.message, f"not refused by its type: {error.message}"
            continue
        raise AssertionError(f"a tool of another vendor was lost in silence (choice {choice})")


def check_table(provider: gw.Provider) -> None:
    """A bare status has the class that everybody gives it."""
    for status, wanted in TABLE.items():
        found = provider.classify(status, {}, b"{}").failure
        assert found in wanted, f"{status} is {found}, not one of {sorted(wanted)}"
    for status in (429, 503):
        wait = provider.classify(status, {"retry-after": "7"}, b"{}").retry_after
        assert wait == 7.0, f"retry-after of {status} is read as {wait}"

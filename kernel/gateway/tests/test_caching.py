"""The key, the modes, and which answers may be repeated."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast

import llm_gateway_api as gw
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llm_gateway import caching
from llm_gateway.accounting import Accounting
from llm_gateway.caching import IGNORED, Caching, Modes, compact, modes_of, storable
from llm_gateway.pipeline import Call
from msgspec.structs import replace

TEXT = gw.TextPart("How deep is it?")
REQUEST = gw.ChatRequest(
    "m",
    (
        gw.Message("system", (gw.TextPart("Be brief."),)),
        gw.Message("user", (gw.TextPart("Where?"), gw.ImagePart(url="https://a.example/a.png"))),
        gw.Message("assistant", (gw.ToolCallPart("c1", "find", '{"a":1}'),)),
        gw.Message("tool", (gw.ToolResultPart("c1", (gw.TextPart("there"),)),)),
        gw.Message("user", (TEXT,), "ann", True),
    ),
    tools=(gw.Tool("find", "Finds.", {"type": "object"}, True),),
    tool_choice=gw.ToolChoice("named", ("find",)),
    params={"temperature": 0.5, "n": 1, "seed": 7, "stop": ["a"], "max_tokens": 5},
    extra={"unheard_of": 1},
    dialect="openai",
)


class Frontend:
    def __init__(self, request: gw.CanonicalRequest) -> None:
        self.read = request

    def request(self, head: gw.RequestHead) -> gw.CanonicalRequest:
        return self.read


class FakeCall:
    """As much of a call as a key is made of."""

    considered = None

    def __init__(self, request: gw.CanonicalRequest, principal: gw.Principal, **head: Any) -> None:
        self.read = request
        self.arrival = gw.Arrival("r", "POST", "/", "", {}, "", 0.0, principal)
        given: dict[str, Any] = {"dialect": "openai", "operation": "chat", "headers": {}, **head}
        self.head = gw.RequestHead(
            given["dialect"], given["operation"], "m", False, False, {}, b"{}", given["headers"]
        )

    def canonical(self) -> gw.CanonicalRequest:
        return self.read


def caching_of(salt: str = "p=1", semantic: bool = True) -> Caching:
    nothing: Any = None
    return Caching((), 60.0, salt, nothing, nothing, nothing, semantic=semantic)


def found(
    request: gw.CanonicalRequest = REQUEST,
    principal: gw.Principal = gw.Principal("key", "tenant"),  # noqa: B008 (frozen)
    salt: str = "p=1",
    **head: Any,
) -> gw.Lookup:
    call: Any = FakeCall(request, principal, **head)
    lookup = caching_of(salt).lookup(call)
    assert lookup is not None
    return lookup


def changes(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], Any]]:
    """Each member of `value`, however deep: where it is, and what it is."""
    rows: list[tuple[tuple[Any, ...], Any]] = [(path, value)] if path else []
    if isinstance(value, dict):
        pairs: list[tuple[Any, Any]] = list(value.items())
    elif isinstance(value, (list, tuple)):
        pairs = list(enumerate(value))
    else:
        pairs = []
    return rows + [row for key, each in pairs for row in changes(each, (*path, key))]


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copied = dict(value) if isinstance(value, dict) else list(value)
    copied[path[0]] = put(value[path[0]], path[1:], new)
    return copied


PLAIN: dict[str, Any] = msgspec.to_builtins(REQUEST)
MEMBERS = [row for row in changes(PLAIN) if row[0] not in {("stream",), ("type",)}]
LEAVES = [row for row in MEMBERS if not isinstance(row[1], (dict, list, tuple))]


@given(st.sampled_from(LEAVES), st.text(min_size=1, max_size=8), st.booleans())
def test_any_member_that_can_change_the_answer_changes_the_key(
    row: tuple[tuple[Any, ...], Any], text: str, drop: bool
) -> None:
    """Every leaf of a request with all kinds of members, set to something else or to null."""
    path, value = row
    new: Any = (not value if isinstance(value, bool) else None) if drop else None
    if not drop and isinstance(value, str):
        new = value + text
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        new = value + 1
    try:
        changed = msgspec.convert(put(PLAIN, path, new), gw.ChatRequest)
    except msgspec.ValidationError:
        return  # no request at all
    if changed == REQUEST:
        return

    assert found(changed).key != found().key


@given(st.text(min_size=1), st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.text()))
def test_a_parameter_that_nobody_knows_is_part_of_the_key(name: str, value: Any) -> None:
    for params in ({**REQUEST.params, name: value}, dict(REQUEST.params)):
        extra = {**REQUEST.extra, name: value} if params == REQUEST.params else REQUEST.extra
        changed = replace(REQUEST, params=params, extra=extra)
        if changed == REQUEST or name in IGNORED or name in caching.EFFECTS:
            continue
        assert found(changed).key != found().key


@pytest.mark.parametrize("name", sorted(IGNORED))
def test_who_asks_and_how_it_travels_is_not(name: str) -> None:
    changed = replace(REQUEST, params={**REQUEST.params, name: {"a": "b"}}, stream=True)

    assert found(changed).key == found().key


def test_order_of_members_is_not_either() -> None:
    params = dict(reversed(REQUEST.params.items()))

    assert found(replace(REQUEST, params=params)).key == found().key


@pytest.mark.parametrize(
    "other",
    [
        {"principal": gw.Principal("key", "other")},
        {"principal": gw.Principal("key", None)},
        {"principal": gw.Principal("tenant", None)},
        {"principal": gw.Principal(None, None)},
        {"salt": "p=2"},
        {"dialect": "anthropic"},
        {"operation": "completions"},
        {"headers": {"anthropic-beta": "x"}},
    ],
    ids=str,
)
def test_tenant_plugins_dialect_and_operation_are_part_of_it(other: dict[str, Any]) -> None:
    changed, same = found(**other), found()

    assert changed.key != same.key
    assert changed.partition != same.partition


def test_keys_of_one_tenant_share_and_keys_of_none_do_not() -> None:
    assert found(principal=gw.Principal("other", "tenant")).key == found().key
    one, two = (found(principal=gw.Principal(name, None)) for name in ("a", "b"))
    assert one.key != two.key


def test_a_partition_covers_all_but_the_last_user_text() -> None:
    def last(text: str) -> gw.ChatRequest:
        message = replace(REQUEST.messages[-1], parts=(gw.TextPart(text),))
        return replace(REQUEST, messages=(*REQUEST.messages[:-1], message))

    one, two = found(last("a")), found(last("b"))
    assert (one.partition, one.text, two.text) == (two.partition, "a", "b")
    assert one.key != two.key
    shorter = replace(REQUEST, messages=REQUEST.messages[1:])
    assert found(shorter).partition != found().partition


@pytest.mark.parametrize(
    "last",
    [
        gw.Message("user", (TEXT, gw.ImagePart(url="https://a.example/b.png"))),
        gw.Message("user", (TEXT, gw.TextPart("more"))),
        gw.Message("tool", (gw.ToolResultPart("c1", (TEXT,)),)),
        gw.Message("assistant", (TEXT,)),
    ],
    ids=lambda each: each.role,
)
def test_likeness_says_nothing_of_turns_with_more_than_one_text(last: gw.Message) -> None:
    lookup = found(replace(REQUEST, messages=(*REQUEST.messages[:-1], last)))

    assert (lookup.text, lookup.partition) == ("", "")


@pytest.mark.parametrize(
    "change",
    [
        {"params": {"store": True}},
        {"extra": {"previous_response_id": "r"}},
        {"tools": (gw.Tool("web_search", kind="vendor"),)},
    ],
    ids=str,
)
def test_what_does_more_than_answer_is_never_repeated(change: dict[str, Any]) -> None:
    call: Any = FakeCall(replace(REQUEST, **change), gw.Principal("key", "tenant"))

    assert caching_of().lookup(call) is None


@pytest.mark.parametrize(
    ("headers", "modes"),
    [
        ({}, Modes()),
        ({"cache-control": "No-Cache"}, Modes(no_cache=True)),
        ({"cache-control": "no-store, max-age=60"}, Modes(no_store=True, max_age=60.0)),
        ({"cache-control": "only-if-cached,max-stale=9"}, Modes(only_if_cached=True)),
        ({"cache-control": "max-age=soon"}, Modes(max_age=0.0)),
        ({"cache-control": 'max-age="5"'}, Modes(max_age=5.0)),
        (
            {"cache-control": "no-cache", "x-gateway-cache-control": "max-age=1"},
            Modes(max_age=1.0),
        ),
        ({"cache-control": "no-cache", "x-gateway-cache-control": ""}, Modes()),
    ],
    ids=str,
)
def test_modes_are_those_of_cache_control(headers: dict[str, str], modes: Modes) -> None:
    assert modes_of(headers) == modes


@pytest.mark.parametrize("text", ["fresh", "max-age=x", "no-cache=1", "max-age"])
def test_our_own_header_is_read_strictly(text: str) -> None:
    with pytest.raises(gw.GatewayError, match="x-gateway-cache-control") as caught:
        modes_of({"x-gateway-cache-control": text})

    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("events", "kept"),
    [
        ((gw.TextDelta("a"), gw.Finished("stop")), True),
        ((gw.ToolCallDelta(0, "c", "f"), gw.Finished("tool_calls")), True),
        ((gw.TextDelta("a"),), False),
        ((gw.TextDelta("a"), gw.Finished("length")), False),
        ((gw.TextDelta("a"), gw.Finished("content_filter")), False),
        ((gw.TextDelta("a"), gw.Finished("stop"), gw.Finished("error", 1)), False),
        ((gw.RefusalDelta("no"), gw.Finished("stop")), False),
        ((), False),
    ],
    ids=str,
)
def test_only_whole_answers_are_kept(events: tuple[gw.Event, ...], kept: bool) -> None:
    assert storable(events) == kept


def test_pieces_of_one_text_are_joined_and_nothing_else() -> None:
    early, late = gw.UsageReport(gw.Usage(input=1)), gw.UsageReport(gw.Usage(input=1, output=9))
    events = (
        gw.Started("id"),
        early,
        gw.TextDelta("a"),
        gw.TextDelta("b"),
        gw.TextDelta("c", 1),
        gw.TextDelta("d", 1, {"token": "d"}),
        gw.TextDelta("e", 1, {"token": "e"}),
        gw.ReasoningDelta("f"),
        gw.ReasoningDelta("g"),
        gw.ReasoningDelta("", 0, {"signature": "s"}),
        gw.ToolCallDelta(0, "c1", "find"),
        gw.ToolCallDelta(0, arguments='{"a"'),
        gw.ToolCallDelta(0, arguments=":1}"),
        gw.ToolCallDelta(1, "c2", "find", "{}"),
        gw.Finished("tool_calls"),
        late,
    )

    assert compact(events) == (
        gw.Started("id"),
        late,
        gw.TextDelta("ab"),
        gw.TextDelta("c", 1),
        gw.TextDelta("d", 1, {"token": "d"}),
        gw.TextDelta("e", 1, {"token": "e"}),
        gw.ReasoningDelta("fg"),
        gw.ReasoningDelta("", 0, {"signature": "s"}),
        gw.ToolCallDelta(0, "c1", "find"),
        gw.ToolCallDelta(0, arguments='{"a":1}'),
        gw.ToolCallDelta(1, "c2", "find", "{}"),
        gw.Finished("tool_calls"),
        late,
    )


class Waiting:
    """As much of a call as waits for another."""

    def __init__(self, seconds: float = 5.0) -> None:
        self.deadline = asyncio.get_running_loop().time() + seconds
        self.flight: Any = None
        self.lookup = gw.Lookup("k", None, "", "", REQUEST)


def waiting() -> tuple[Caching, Callable[[Any], Any]]:
    shared = caching_of()
    return shared, lambda call: asyncio.create_task(shared._awaited(call, "k"))


async def test_followers_ask_for_themselves_when_the_first_fails() -> None:
    shared, follow = waiting()
    first: Any = Waiting()
    assert await shared._awaited(first, "k") is None
    followers = [follow(Waiting()) for _ in range(3)]
    await asyncio.sleep(0)
    shared.leave(first)

    assert await asyncio.gather(*followers) == [None] * 3
    assert shared.flights == {}


async def test_a_follower_that_leaves_takes_nobody_with_it() -> None:
    shared, follow = waiting()
    first: Any = Waiting()
    await shared._awaited(first, "k")
    gone, staying = follow(Waiting()), follow(Waiting())
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    answer = gw.CachedAnswer((gw.Finished("stop"),), "m", "p", "m", None, 0.0)
    first.flight.set_result(answer)

    assert await staying == answer


async def test_a_follower_waits_no_longer_than_its_own_deadline() -> None:
    shared, follow = waiting()
    first: Any = Waiting()
    await shared._awaited(first, "k")

    assert await follow(Waiting(0.0)) is None
    assert not first.flight.done()


class Book:
    """A ledger and the prices: USD 2 per million of input."""

    def __init__(self) -> None:
        self.records: list[gw.LedgerRecord] = []

    def price(self, target: gw.Target) -> gw.Price:
        assert target.name == "p/m-1"
        return gw.Price("v1", {"input": Decimal(2), "output": Decimal(0)})

    def begin(self, opening: gw.LedgerOpening) -> None: ...

    def end(self, record: gw.LedgerRecord) -> None:
        self.records.append(record)


def test_a_hit_costs_nothing_and_records_what_it_saved() -> None:
    """Priced by the deployment whose answer it repeats."""
    book, nothing = Book(), cast(Any, None)
    arrival = gw.Arrival("r", "POST", "/", "", {}, "", 0.0)
    head = gw.RequestHead("d", "chat", "m", False, False, {}, b"{}")
    one = Call(arrival, nothing, cast(Any, SimpleNamespace(committed=False)), head)
    accounting = Accounting(book, book, nothing)
    accounting.begin(one)
    one.usage, one.cache = gw.Usage(input=500_000, output=3), "hit"
    one.repeated = gw.Target("p", "m-1")
    accounting.end(one)

    (record,) = book.records
    assert (record.cost_nano, record.saved_nano) == (0, 1_000_000_000)
    assert (record.cache, record.provider, record.upstream_model) == ("hit", "p", "m-1")
    assert (one.cost, one.headers["x-gateway-cost"]) == (0, "0")

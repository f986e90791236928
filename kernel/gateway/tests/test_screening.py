"""Security filters by stage: what they replace holds, what breaks refuses."""

import llm_gateway_api as gw
import pytest
from llm_gateway.malformed import answer
from llm_gateway.ordering import ordered_filters
from llm_gateway.screening import Outgoing, Screens
from msgspec import structs
from multidict import CIMultiDict, CIMultiDictProxy

ARRIVAL = gw.Arrival("r", "POST", "/", "", {}, "127.0.0.1", 0.0)
HEAD = gw.RequestHead("d", "chat", "m", False, False, {}, b"{}")


class Lays:
    """Lays headers around answers."""

    def __init__(self, added: gw.Headers, removed: frozenset[str] = frozenset()) -> None:
        self._wanted = gw.AnswerHeaders(added, removed)

    async def inspect(self, seen: gw.Seen) -> gw.Seen:
        return seen

    def answer_headers(self) -> gw.AnswerHeaders:
        return self._wanted


class Marks:
    """Puts a mark into whatever it sees."""

    async def inspect(self, seen: gw.Seen) -> gw.Seen:
        if isinstance(seen, gw.Arrival):
            return structs.replace(seen, peer=seen.peer + "!")
        assert isinstance(seen, gw.Admission)
        return gw.Admission(seen.arrival, structs.replace(seen.head, body=b"{1}"))


class Breaks:
    async def inspect(self, seen: gw.Seen) -> gw.Seen:
        raise KeyError("x")

    async def inspect_endpoint(self, arrival: gw.Arrival, body: bytes) -> gw.Refusal | None:
        if body == b"no":
            return gw.Refusal(403, "no", "No.")
        raise KeyError("x")


def spec(name: str, stage: gw.Stage) -> gw.SecurityFilterSpec:
    return gw.SecurityFilterSpec(name, stage, make=Marks)


def test_what_an_answer_says_itself_stands() -> None:
    """Added headers give way, removed ones are gone in any case, and nothing comes twice."""
    outgoing = Outgoing([Lays({"x-a": "1", "x-b": "2"}), Lays({}, frozenset({"server"}))])

    assert outgoing.lines({"x-id": "7"}) == ["x-id: 7", "x-a: 1", "x-b: 2"]
    assert outgoing.lines({"X-A": "own", "Server": "s"}) == ["X-A: own", "x-b: 2"]
    assert Outgoing([]).lines({"Server": "s"}) == ["Server: s"]


async def test_a_replacement_holds_for_what_follows() -> None:
    pairs = [(spec(name, stage), Marks()) for name, stage in _STAGES]
    screens = Screens.of(pairs)

    arrival = await screens.identify(await screens.connect(ARRIVAL))
    head = await screens.admit(arrival, HEAD)

    assert arrival.peer == "127.0.0.1!!"
    assert head.body == b"{1}"


_STAGES: list[tuple[str, gw.Stage]] = [
    ("one", "connection"),
    ("two", "identity"),
    ("three", "admission"),
]


async def test_a_broken_filter_refuses() -> None:
    """Requests of dialects and calls of endpoints alike."""
    screens = Screens.of([(spec("bad", "admission"), Breaks())])

    with pytest.raises(gw.RefusedError, match="bad failed") as refused:
        await screens.admit(ARRIVAL, HEAD)
    with pytest.raises(gw.RefusedError) as called:
        await screens.admit_endpoint(ARRIVAL, b"")
    with pytest.raises(gw.RefusedError, match="No") as said:
        await screens.admit_endpoint(ARRIVAL, b"no")

    assert refused.value.status == called.value.status == 500
    assert said.value.status == 403


def test_every_value_of_a_repeated_header() -> None:
    sent = CIMultiDictProxy(CIMultiDict([("X-A", "1"), ("x-a", "2")]))

    assert gw.every(sent, "x-a") == ("1", "2")
    assert gw.every(sent, "x-b") == ()
    assert gw.every({"x-a": "1"}, "x-a") == ("1",)
    assert gw.every({}, "x-a") == ()


def test_what_is_no_request_is_answered_with_them_too() -> None:
    assert answer(None, 400, {"x-a": "1"}).headers["x-a"] == "1"


def test_who_is_after_all_is_last() -> None:
    """Of several, by name; whoever they do not know is before them all."""
    specs = [
        gw.SecurityFilterSpec(name, "identity", Marks, after=after)
        for name, after in (("a", ("*",)), ("z", ()), ("b", ("*",)), ("m", ("z",)))
    ]

    assert [each.name for each in ordered_filters(specs)] == ["z", "m", "a", "b"]

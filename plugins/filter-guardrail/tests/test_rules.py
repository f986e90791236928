"""Rules on requests and on answers, cut anywhere."""

from collections.abc import Sequence
from typing import Any

import llm_gateway_api as gw
import pytest
from llm_gateway_filter_guardrail import plugin
from llm_gateway_filter_guardrail.settings import GuardrailSettings
from pydantic import ValidationError

WORDS = {"name": "words", "deny": ["bomb", "secret plan"]}
CODES = {"name": "codes", "patterns": [r"PRJ-\d{4}"]}


async def no_fetch(url: str, **_: Any) -> gw.Fetched:
    raise AssertionError("nobody is to be asked")


def made(metrics: gw.Metrics | None = None, fetch: Any = no_fetch, **settings: Any) -> Any:
    model = GuardrailSettings.model_validate(settings)
    return plugin.GuardrailFilter(model, fetch, metrics or gw.Metrics())


def arrival(tenant: str | None = None, path: str = "/v1/chat/completions") -> gw.Arrival:
    principal = gw.Principal(tenant=tenant)
    return gw.Arrival("r", "POST", path, "", {"content-length": "9"}, "", 0.0, principal)


def chat(*parts: gw.Part | str, **members: Any) -> gw.ChatRequest:
    given = tuple(gw.TextPart(each) if isinstance(each, str) else each for each in parts)
    return gw.ChatRequest("m", (gw.Message("user", given),), **members)


async def asked(request: gw.CanonicalRequest, at: gw.Arrival | None = None, **settings: Any) -> Any:
    seen = gw.Content(at or arrival(), request)
    answer = await made(None, **settings).inspect(seen)
    return (answer.status, answer.code, answer.param) if answer is not seen else None


BLOCKED = (403, "request_blocked", "messages[0]")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("how to build a bomb", True),
        ("BOMB!", True),
        ("Bomb", True),
        ("\uff42\uff4f\uff4d\uff42", True),
        ("the secret\n plan", True),
        ("a bombastic speech", False),
        ("a verbomb", False),
        ("bombé", False),
        ("see PRJ-1234", True),
        ("see prj-1234", False),
    ],
)
async def test_words_are_whole_and_expressions_are_what_they_say(text: str, found: bool) -> None:
    assert await asked(chat(text), rules=[WORDS, CODES]) == (BLOCKED if found else None)


@pytest.mark.parametrize(
    "request_",
    [
        chat(gw.ToolCallPart("c", "f", '{"a": ["\\u0062omb"]}')),
        chat(gw.ToolCallPart("c", "f", "{bomb")),
        chat(gw.ToolResultPart("c", (gw.TextPart("bomb"),))),
        chat(gw.UnknownPart("d", {"a": ["bomb"]})),
        chat("hi", tools=(gw.Tool("t", "a bomb"),)),
        chat("hi", params={"metadata": {"a": "bomb"}}),
        gw.EmbeddingsRequest("m", ("bomb",)),
        gw.RerankRequest("m", "bomb", ("x",)),
        gw.RerankRequest("m", "x", ("y", "bomb")),
    ],
)
async def test_all_texts_of_a_request_are_read(request_: Any) -> None:
    answer = await asked(request_, rules=[WORDS])

    assert answer is not None
    assert answer[0] == 403


async def test_bytes_and_addresses_are_no_text() -> None:
    parts = gw.ImagePart(data="bomb"), gw.FilePart(url="https://bomb.example/bomb")

    assert await asked(chat(*parts), rules=[WORDS]) is None


async def test_the_refusal_names_the_rule_and_never_the_text() -> None:
    refusal = await made(rules=[WORDS]).inspect(gw.Content(arrival(), chat("a bomb")))

    assert "words" in refusal.message
    assert "bomb" not in refusal.message


@pytest.mark.parametrize(
    ("tenant", "path", "found"),
    [("acme", "/v1/messages", True), ("acme", "/v1/x", False), (None, "/v1/messages", False)],
)
async def test_rules_hold_for_their_tenants_and_routes(tenant: Any, path: str, found: bool) -> None:
    rule = {**WORDS, "tenants": ["acme"], "routes": ["/v1/messages"]}

    answer = await asked(chat("bomb"), arrival(tenant, path), rules=[rule])
    assert answer == (BLOCKED if found else None)


async def test_monitoring_counts_and_lets_pass() -> None:
    metrics = gw.Metrics()
    guardrail = made(metrics, rules=[{**WORDS, "monitor": True}])
    seen = gw.Content(arrival(), chat("bomb", "bomb"))
    watching = guardrail.watch(arrival())

    assert await guardrail.inspect(seen) is seen
    assert watching.feed([gw.TextDelta("bomb and bomb."), gw.Finished("stop")])
    (family,) = [each for each in metrics.families() if each.name.endswith("hits_total")]
    counted: Any = {labels: child.value for labels, child in family.children.items()}  # type: ignore[union-attr]
    assert counted == {("words", "request", "monitor"): 1, ("words", "answer", "monitor"): 1}


def played(
    pieces: list[str], event: Any = gw.TextDelta, by: Any = None, **settings: Any
) -> tuple[str, str | None]:
    """What reached the client, and the code of the error that stopped it."""
    watching = (by or made(window_characters=16, **settings)).watch(arrival())
    events = [event(piece) for piece in pieces] + [gw.Finished("stop")]
    out = ""
    try:
        for each in events:
            for sent in watching.feed([each]):
                out += getattr(sent, "text", "") or getattr(sent, "arguments", "")
    except gw.GatewayError as error:
        return out, error.code
    return out, None


def call(arguments: str) -> gw.ToolCallDelta:
    return gw.ToolCallDelta(0, arguments=arguments)


@pytest.mark.parametrize("event", [gw.TextDelta, gw.ReasoningDelta, gw.RefusalDelta, call])
def test_nothing_of_a_match_leaves_wherever_the_answer_is_cut(event: Any) -> None:
    said = "It is calm today, and here is how the secret plan works, step by step."
    end = said.index("secret")
    guardrail = made(window_characters=16, rules=[WORDS])
    for first in range(len(said)):
        for width in (1, 3, 40):
            pieces = [said[:first], *(said[a : a + width] for a in range(first, len(said), width))]
            out, code = played(pieces, event, guardrail)
            assert code == "answer_blocked"
            assert said.startswith(out)
            assert len(out) <= end


@pytest.mark.parametrize("said", ["a bombastic", "so calm " * 20 + "verbomb", "", "bombé"])
def test_harmless_answers_come_whole_in_any_pieces(said: str) -> None:
    for width in (1, 2, 7, 400):
        pieces = [said[at : at + width] for at in range(0, len(said), width)]
        assert played(pieces, rules=[WORDS, CODES]) == (said, None)


@pytest.mark.parametrize("said", ["it is a bomb", "bomb"])
def test_a_word_at_the_very_end_is_found(said: str) -> None:
    assert played(list(said), rules=[WORDS])[1] == "answer_blocked"


def test_escapes_in_arguments_hide_nothing() -> None:
    assert played(list('{"a":"x\\nbo\\u006db"}'), call, rules=[WORDS])[1] == "answer_blocked"


def test_a_match_without_end_is_stopped_when_the_window_is_full() -> None:
    rule = {"name": "keys", "patterns": ["key: .+"]}
    out, code = played(list("the key: " + "x" * 100), rules=[rule])

    assert code == "answer_blocked"
    assert "the ".startswith(out)


def test_what_an_event_carries_beside_its_text_is_not_held_back() -> None:
    watching = made(rules=[WORDS]).watch(arrival())
    begun = gw.ToolCallDelta(0, "c", "send")

    assert watching.feed([gw.TextDelta("Hi"), begun]) == [gw.TextDelta("Hi"), begun]


@pytest.mark.parametrize("width", [1, 3, 20, 60])
def test_what_a_vendor_says_beside_a_text_keeps_its_place(width: int) -> None:
    """Behind the character that it came behind, however much is held back; and a match across
    it is one."""
    watching = made(rules=[WORDS], window_characters=16).watch(arrival())
    said = "It is calm today, and the boats are out on the water, far away."
    note = gw.Unknown("d", {"safe": True})
    events = [
        event
        for at in range(0, len(said), width)
        for event in (gw.TextDelta(said[at : at + width]), note)
    ]
    out = [e for each in events for e in watching.feed([each])]
    out += watching.feed([gw.Finished("stop")])

    assert marked(out) == marked(events)
    assert played(["it is a bo"], rules=[WORDS])[1] is None
    across = made(rules=[WORDS]).watch(arrival())
    with pytest.raises(gw.GatewayError):
        across.feed([gw.TextDelta("it is a bo"), note, gw.TextDelta("mb"), gw.Finished("stop")])


def marked(events: Sequence[gw.Event]) -> str:
    return "".join("*" if isinstance(e, gw.Unknown) else getattr(e, "text", "") for e in events)


@pytest.mark.parametrize(
    "wrong",
    [
        {"rules": [{"name": "a"}]},
        {"rules": [WORDS, WORDS]},
        {"rules": [{"name": "a", "patterns": ["(?=x)"]}]},
        {"rules": [{"name": "a", "patterns": ["x*"]}]},
        {"rules": [{"name": "a", "deny": [" "]}]},
        {"rules": [{"name": "a", "deny": ["x" * 300]}]},
        {"external": [{"name": "a", "url": "ftp://x"}]},
    ],
)
def test_rules_that_cannot_work_are_refused(wrong: Any) -> None:
    with pytest.raises(ValidationError):
        GuardrailSettings.model_validate(wrong)


SERVICE = {"name": "judge", "url": "https://judge.example/v1"}


@pytest.mark.parametrize(
    ("status", "body", "fail", "blocked"),
    [
        (200, b'{"allow": true, "why": "x"}', "closed", False),
        (200, b'{"allow": false}', "open", True),
        (200, b'{"allow": "yes"}', "closed", True),
        (200, b"", "closed", True),
        (200, b"nonsense", "open", False),
        (500, b'{"allow": true}', "closed", True),
        (500, b'{"allow": true}', "open", False),
        (None, b"", "closed", True),
        (None, b"", "open", False),
    ],
)
async def test_a_service_judges_and_its_silence_means_what_is_declared(
    status: int | None, body: bytes, fail: str, blocked: bool
) -> None:
    async def fetch(url: str, **_: Any) -> gw.Fetched:
        if status is None:
            raise gw.FetchError("it was too slow")
        return gw.Fetched(url, status, {}, body)

    service = {**SERVICE, "fail": fail}
    answer = await asked(chat("hi"), fetch=fetch, external=[service])
    assert answer == ((403, "request_blocked", None) if blocked else None)

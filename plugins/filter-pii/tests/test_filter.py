"""What the filter makes of requests, by kind, tenant and route."""

from collections.abc import Sequence
from typing import Any

import llm_gateway_api as gw
import pytest
from llm_gateway_filter_pii import plugin
from llm_gateway_filter_pii.settings import PiiSettings
from pydantic import ValidationError

CARD, MAIL = "4111 1111 1111 1111", "ada@example.org"


def arrival(tenant: str | None = None, path: str = "/v1/chat/completions") -> gw.Arrival:
    headers = {"content-length": "100"}
    return gw.Arrival("r", "POST", path, "", headers, "127.0.0.1", 0.0, gw.Principal(tenant=tenant))


def user(*parts: gw.Part | str) -> gw.Message:
    return gw.Message("user", tuple(gw.TextPart(p) if isinstance(p, str) else p for p in parts))


def chat(*messages: gw.Message, **members: Any) -> gw.ChatRequest:
    return gw.ChatRequest("m", messages, **members)


class Made:
    """A filter and what it counted."""

    def __init__(self, **settings: Any) -> None:
        self.metrics = gw.Metrics()
        model = PiiSettings.model_validate({"prompts": True, **settings})
        made = plugin.prompts(model, self.metrics)
        assert made is not None
        self.filter = made

    async def __call__(self, request: gw.CanonicalRequest, at: gw.Arrival | None = None) -> Any:
        seen = await self.filter.inspect(gw.Content(at or arrival(), request))
        return seen.request if isinstance(seen, gw.Content) else seen

    def counted(self) -> dict[tuple[str, ...], float]:
        (family,) = [f for f in self.metrics.families() if f.name.endswith("pii_found_total")]
        return {labels: child.value for labels, child in family.children.items()}  # type: ignore[union-attr]


async def test_prompts_are_left_alone_until_asked() -> None:
    assert plugin.prompts(PiiSettings(), gw.Metrics()) is None
    assert plugin.prompts(PiiSettings(prompts=True), gw.Metrics())
    assert [each.switch for each in plugin.llm_gateway_settings()] == ["prompts"]


async def test_masked_for_good_by_default() -> None:
    made = Made(prompts=True)

    assert await made(chat(user(f"I am {MAIL}."))) == chat(user("I am [EMAIL]."))
    assert made.counted() == {("email", "mask"): 1}


async def test_clean_requests_are_the_same_object() -> None:
    request = chat(user("Low tide?"), tools=(gw.Tool("t", "d", {"type": "object"}),))

    assert await Made(prompts=True)(request) is request


async def test_a_block_names_the_field_and_not_the_text() -> None:
    refusal = await Made(kinds={"card": "block"})(chat(user("hi"), user(f"it is {CARD}")))

    assert (refusal.status, refusal.code, refusal.param) == (400, "personal_data", "messages[1]")
    assert "card" in refusal.message
    assert "4111" not in refusal.message


async def test_reversible_numbers_are_stable_while_a_conversation_grows() -> None:
    made = Made(kinds={"email": "reversible"})
    first = chat(user(f"{MAIL} and b@example.org"))
    more = chat(*first.messages, user(f"again {MAIL}, new c@example.org"))

    assert await made(first) == chat(user("[EMAIL_1] and [EMAIL_2]"))
    assert (await made(more)).messages[1] == user("again [EMAIL_1], new [EMAIL_3]")


async def test_a_placeholder_that_the_caller_wrote_stays_what_it_is() -> None:
    made = Made(kinds={"email": "reversible"})
    at = arrival()
    request = await made(chat(user(f"[EMAIL_1] is no address, {MAIL} is")), at)
    watching = made.filter.watch(at)

    assert request == chat(user("[EMAIL_1] is no address, [EMAIL_2] is"))
    assert watching.feed([gw.TextDelta("[EMAIL_1] [EMAIL_2]")]) == [
        gw.TextDelta(f"[EMAIL_1] {MAIL}")
    ]


async def test_an_answer_never_gets_values_of_another_request() -> None:
    made = Made(kinds={"email": "reversible"})
    await made(chat(user(MAIL)), arrival())

    assert made.filter.watch(arrival()).feed([gw.TextDelta("[EMAIL_1]")]) == [
        gw.TextDelta("[EMAIL_1]")
    ]


async def test_all_texts_of_a_request_are_read() -> None:
    call = gw.ToolCallPart("id", "send", f'{{"to":"{MAIL}", "n": 4111111111111111, "k":1.50}}')
    custom = gw.ToolCallPart("id", "say", f"to {MAIL}", kind="custom")
    broken = gw.ToolCallPart("id", "send", f'{{"to":"{MAIL}')
    result = gw.ToolResultPart("id", (gw.TextPart(MAIL),))
    unknown = gw.UnknownPart("d", {"a": [MAIL]})
    picture = gw.ImagePart(data=MAIL)
    parts = (call, custom, broken, result, unknown, picture, gw.ReasoningPart(MAIL, {"s": MAIL}))
    request = chat(
        gw.Message("assistant", parts, name=MAIL),
        tools=(gw.Tool("t", f"ask {MAIL}", {"enum": [MAIL]}),),
        params={"user": MAIL, "temperature": 0, "metadata": {"who": MAIL}},
        extra={"new": [MAIL]},
    )
    masked = await Made(prompts=True)(request)

    assert masked == chat(
        gw.Message(
            "assistant",
            (
                gw.ToolCallPart("id", "send", '{"to":"[EMAIL]", "n": "[CARD]", "k":1.50}'),
                gw.ToolCallPart("id", "say", "to [EMAIL]", kind="custom"),
                gw.ToolCallPart("id", "send", '{"to":"[EMAIL]'),
                gw.ToolResultPart("id", (gw.TextPart("[EMAIL]"),)),
                gw.UnknownPart("d", {"a": ["[EMAIL]"]}),
                picture,
                gw.ReasoningPart("[EMAIL]", {"s": MAIL}),
            ),
            name="[EMAIL]",
        ),
        tools=(gw.Tool("t", "ask [EMAIL]", {"enum": ["[EMAIL]"]}),),
        params={"user": "[EMAIL]", "temperature": 0, "metadata": {"who": "[EMAIL]"}},
        extra={"new": ["[EMAIL]"]},
    )


@pytest.mark.parametrize(
    ("request_", "masked"),
    [
        (
            gw.EmbeddingsRequest("m", (MAIL, (1, 2))),
            gw.EmbeddingsRequest("m", ("[EMAIL]", (1, 2))),
        ),
        (
            gw.RerankRequest("m", MAIL, ("x", MAIL)),
            gw.RerankRequest("m", "[EMAIL]", ("x", "[EMAIL]")),
        ),
    ],
)
async def test_other_operations(request_: Any, masked: Any) -> None:
    assert await Made(prompts=True)(request_) == masked


async def test_monitor_counts_and_changes_nothing() -> None:
    made = Made(mode="monitor", kinds={"card": "block", "phone": "off"})
    request = chat(user(f"{MAIL} {CARD} call +49 30 901820"))

    assert await made(request) is request
    assert made.counted() == {("email", "monitor"): 1, ("card", "monitor"): 1}


@pytest.mark.parametrize(
    ("tenant", "path", "expected"),
    [
        (None, "/v1/chat/completions", "[EMAIL]"),
        ("acme", "/v1/chat/completions", "[EMAIL_1]"),
        ("acme", "/v1/embeddings", MAIL),
        ("free", "/v1/embeddings", MAIL),
        ("bank", "/v1/chat/completions", "personal_data"),
    ],
)
async def test_rules_by_tenant_and_route(tenant: str | None, path: str, expected: str) -> None:
    rules: Sequence[Any] = [
        {"tenants": ["acme"], "kinds": {"email": "reversible"}},
        {"tenants": ["bank"], "kinds": {"email": "block"}},
        {"routes": ["/v1/embeddings"], "mode": "monitor"},
    ]
    answer = await Made(rules=rules)(chat(user(MAIL)), arrival(tenant, path))

    if isinstance(answer, gw.Refusal):
        assert answer.code == expected
    else:
        assert answer == chat(user(expected))


async def test_a_large_request_is_searched_on_a_thread() -> None:
    """The loop stays free; the answer's filter knows the values all the same."""
    made = Made(kinds={"email": "reversible"})
    at = gw.Arrival("r", "POST", "/", "", {"content-length": "9000000"}, "", 0.0)

    assert await made(chat(user(f"{'tide ' * 40_000}{MAIL}")), at) == chat(
        user(f"{'tide ' * 40_000}[EMAIL_1]")
    )
    assert made.filter.watch(at).feed([gw.TextDelta("[EMAIL_1]")]) == [gw.TextDelta(MAIL)]


def test_settings_that_nobody_understands_are_refused() -> None:
    for wrong in ({"kinds": {"mail": "mask"}}, {"kinds": {"email": "hide"}}, {"countries": ["XX"]}):
        with pytest.raises(ValidationError):
            PiiSettings.model_validate(wrong)


def test_the_redactor_masks_every_kind_and_leaves_ids_and_times() -> None:
    redact = plugin.PiiRedactor(PiiSettings(names=("Ada Lovelace",))).redact
    kept = (
        '{"timestamp":"2026-11-24T22:12:40.123Z","request_id":"123e4567-e89b-12d3-a456-'
        '426614174000","latency_ms":1764.123456,"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736",'
        '"cost_usd":"0.000412","peer":"127.0.0.1"}'
    )

    assert redact(kept) == kept
    assert redact(f"Ada Lovelace <{MAIL}> paid with {CARD}") == "[NAME] <[EMAIL]> paid with [CARD]"

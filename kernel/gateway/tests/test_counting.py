"""The estimate of a request's tokens: near the truth, and rather above it."""

import llm_gateway_api as gw
from llm_gateway.counting import IMAGE_TOKENS, estimate, usage

WORDS = "The tide is low at ten past two in the afternoon. " * 20  # 13 tokens a sentence


def asked(*parts: gw.Part, tools: tuple[gw.Tool, ...] | None = None) -> gw.ChatRequest:
    return gw.ChatRequest("m", (gw.Message("user", parts),), tools)


def test_text_is_estimated_above_what_tokenizers_say() -> None:
    assert 13 * 20 <= estimate(asked(gw.TextPart(WORDS))) <= 13 * 20 * 1.3


def test_pictures_results_and_tools_count() -> None:
    bare = estimate(asked(gw.TextPart("x")))
    picture = gw.ImagePart(data="aGk=")
    tool = gw.Tool("tide_at", "When?", {"type": "object"})

    assert estimate(asked(gw.TextPart("x"), picture)) == bare + IMAGE_TOKENS
    result = gw.ToolResultPart("a", (picture, gw.TextPart("x")))
    assert estimate(asked(result)) == bare + IMAGE_TOKENS
    assert estimate(asked(gw.TextPart("x"), tools=(tool,))) > bare + 10


def test_every_kind_of_part_has_a_size() -> None:
    parts = (
        gw.ReasoningPart("Hm"),
        gw.RefusalPart("No"),
        gw.ToolCallPart("a", "n", "{}"),
        gw.FilePart(data="x" * 240_000),
        gw.AudioPart(data="x"),
        gw.UnknownPart("d", {"x": 1}),
    )

    assert estimate(asked(*parts)) > 10_000
    assert estimate(gw.EmbeddingsRequest("m", ("hello",))) > 0


def test_an_answer_is_estimated_by_all_that_it_says() -> None:
    events = (
        gw.ReasoningDelta("b" * 7),
        gw.TextDelta("c" * 7),
        gw.ToolCallDelta(0, "id", "four", "{}"),
        gw.ToolCallDelta(0, arguments="d" * 8),
        gw.Finished("stop"),
    )

    found = usage(asked(gw.TextPart("a" * 35)), events)

    assert found == gw.Usage(input=18, output=8, estimated=True)

import llm_gateway_api as gw
import pytest

from {{module}} import plugin

ARRIVAL = gw.Arrival("r-1", "POST", "/", "", {}, "127.0.0.1", 0.0)


def seen(text: str) -> gw.Content:
    message = gw.Message("user", (gw.TextPart(text),))
    return gw.Content(ARRIVAL, gw.ChatRequest("m", (message,)))


@pytest.mark.parametrize(("text", "refused"), [("my Secret", True), ("hello", False)])
async def test_word_is_refused(text: str, refused: bool) -> None:
    made = plugin.{{Class}}(plugin.Settings(words=("secret",)))

    answer = await made.inspect(seen(text))

    assert isinstance(answer, gw.Refusal) is refused


async def test_word_in_a_tools_result_is_refused() -> None:
    result = gw.ToolResultPart("c", (gw.TextPart("secret"),))
    request = gw.ChatRequest("m", (gw.Message("tool", (result,)),))

    made = plugin.{{Class}}(plugin.Settings(words=("secret",)))

    answer = await made.inspect(gw.Content(ARRIVAL, request))

    assert isinstance(answer, gw.Refusal)

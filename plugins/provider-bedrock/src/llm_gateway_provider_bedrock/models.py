"""Models that Bedrock serves, with what was known of them on 2026-11-23.

Prices are USD per million tokens, of the id that stands here. Source: the public price map
of litellm 1.109.1. A row of the settings replaces the one of the same id.
"""

import llm_gateway_api as gw
import msgspec

_TEXT = frozenset({"chat", "streaming"})
_TOOLS = _TEXT | {"tools"}
_CLAUDE = _TOOLS | {"vision", "documents", "reasoning", "structured_output", "prompt_caching"}
_NOVA = _TOOLS | {"vision", "documents", "structured_output", "prompt_caching"}
_M = 1_000_000


def _row(
    id: str,
    context: int,
    output: int | None,
    abilities: frozenset[str],
    price_in: str,
    price_out: str | None,
) -> gw.ModelInfo:
    return gw.ModelInfo(id, context, output, abilities, price_in, price_out)


KNOWN: tuple[gw.ModelInfo, ...] = (
    _row("global.anthropic.claude-opus-5-5", _M, 128_000, _CLAUDE, "4.00", "20"),
    _row("global.anthropic.claude-sonnet-5-5", _M, 128_000, _CLAUDE, "2.00", "10"),
    _row("global.anthropic.claude-haiku-5-5", _M, 128_000, _CLAUDE, "0.10", "0.50"),
    _row("global.anthropic.claude-fable-5-1", _M, 128_000, _CLAUDE, "10", "50"),
    _row("amazon.nova-premier-v1:0", _M, 10_000, _NOVA, "2.50", "12.50"),
    _row("amazon.nova-2-lite-v1:0", _M, 64_000, _NOVA | {"reasoning"}, "0.30", "2.50"),
    _row("amazon.nova-pro-v1:0", 300_000, 10_000, _NOVA, "0.80", "3.20"),
    _row("amazon.nova-lite-v1:0", 300_000, 10_000, _NOVA, "0.06", "0.24"),
    _row(
        "amazon.nova-micro-v1:0", 128_000, 10_000, _NOVA - {"vision", "documents"}, "0.035", "0.14"
    ),
    _row("openai.gpt-oss-120b-1:0", 128_000, 16_000, _TOOLS | {"reasoning"}, "0.15", "0.60"),
    _row("deepseek.v3.2", 164_000, 8_000, _TOOLS, "0.62", "1.85"),
    _row(
        "mistral.mistral-large-3-675b-instruct",
        256_000,
        32_000,
        _TOOLS | {"vision"},
        "0.50",
        "1.50",
    ),
    _row("meta.llama4-maverick-17b-instruct-v1:0", _M, 8_000, _TOOLS | {"vision"}, "0.24", "0.97"),
    _row("qwen.qwen3-235b-a22b-2507-v1:0", 262_000, 8_000, _TOOLS, "0.22", "0.88"),
    _row("amazon.titan-embed-text-v2:0", 8_192, None, frozenset({"embeddings"}), "0.02", None),
    _row("cohere.embed-v4:0", 128_000, None, frozenset({"embeddings"}), "0.12", None),
)


class _Listed(msgspec.Struct, rename="camel"):
    model_id: str


class _Page(msgspec.Struct, rename="camel"):
    model_summaries: list[_Listed]


def page(body: bytes) -> gw.ModelPage:
    """The region's list, which has no pages and says no windows."""
    try:
        found = msgspec.json.decode(body, type=_Page)
    except msgspec.DecodeError as error:
        raise gw.UpstreamTruncatedError("the list of models could not be understood") from error
    known = {row.id: row for row in KNOWN}
    return gw.ModelPage(
        tuple(
            known.get(each.model_id) or gw.ModelInfo(each.model_id)
            for each in found.model_summaries
        )
    )

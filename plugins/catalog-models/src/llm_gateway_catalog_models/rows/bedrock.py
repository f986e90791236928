"""Bedrock, prices of a region's own and of ``global.`` ids; ``us.``, ``eu.`` and ``apac.`` ids of
Claude cost a tenth more."""

from collections.abc import Iterator
from decimal import Decimal

from llm_gateway_catalog_models.row import (
    CALLS,
    EMBEDS,
    FORMS,
    SEES,
    THINKS,
    M,
    Meters,
    Row,
    Tariff,
    usd,
)

SOURCE = "LiteLLM 1.109.1, model map"
READ = "2026-11-23"
CLAUDE = SEES | FORMS | THINKS | {"documents", "prompt_caching"}
NOVA = SEES | FORMS | {"documents", "prompt_caching"}
REGIONS = ("us", "eu", "apac")
DEARER = Decimal("1.1")


def claude(
    name: str, input: str, cached: str, output: str, unknown_above: int = 0
) -> Iterator[Row]:
    """The row of an id without and with each place."""
    id = f"anthropic.{name}"
    nothing = dict.fromkeys(usd(input))
    above: tuple[tuple[int, Meters], ...] = ((unknown_above, nothing),) if unknown_above else ()
    prices = (Tariff(usd(input, output, cached=cached), above),)
    note = f"a price above {unknown_above} tokens of input is not known" if unknown_above else ""
    yield Row(f"global.{id}", M, 128_000, CLAUDE, prices, SOURCE, READ, (id,), note)
    more = [f"{Decimal(each) * DEARER:f}" for each in (input, output, cached)]
    dearer = (Tariff(usd(more[0], more[1], cached=more[2]), above),)
    ids = [f"{region}.{id}" for region in REGIONS]
    yield Row(ids[0], M, 128_000, CLAUDE, dearer, SOURCE, READ, tuple(ids[1:]), note)


def model(
    id: str,
    context: int,
    output: int | None,
    capabilities: frozenset[str],
    meters: Meters,
) -> Row:
    return Row(id, context, output, capabilities, (Tariff(meters),), SOURCE, READ)


ROWS = (
    *claude("claude-opus-5-5", "4.00", "0.20", "20"),
    *claude("claude-sonnet-5-5", "2.00", "0.10", "10"),
    *claude("claude-haiku-5-5", "0.10", "0.01", "0.50", unknown_above=100_000),
    *claude("claude-fable-5-1", "10", "0.25", "50"),
    model("amazon.nova-premier-v1:0", M, 10_000, NOVA, usd("2.50", "12.50", cached="0.625")),
    model("amazon.nova-2-lite-v1:0", M, 64_000, NOVA | THINKS, usd("0.30", "2.50", cached="0.075")),
    model("amazon.nova-pro-v1:0", 300_000, 10_000, NOVA, usd("0.80", "3.20", cached="0.20")),
    model("amazon.nova-lite-v1:0", 300_000, 10_000, NOVA, usd("0.06", "0.24", cached="0.015")),
    model(
        "amazon.nova-micro-v1:0",
        128_000,
        10_000,
        NOVA - {"vision", "documents"},
        usd("0.035", "0.14", cached="0.0088"),
    ),
    model("openai.gpt-oss-120b-1:0", 128_000, 16_000, CALLS | THINKS, usd("0.15", "0.60")),
    model("deepseek.v3.2", 164_000, 8_000, CALLS, usd("0.62", "1.85")),
    model("mistral.mistral-large-3-675b-instruct", 256_000, 32_000, SEES, usd("0.50", "1.50")),
    model("meta.llama4-maverick-17b-instruct-v1:0", M, 8_000, SEES, usd("0.24", "0.97")),
    model("qwen.qwen3-235b-a22b-2507-v1:0", 262_000, 8_000, CALLS, usd("0.22", "0.88")),
    model("amazon.titan-embed-text-v2:0", 8_192, None, EMBEDS, usd("0.02")),
    model("cohere.embed-v4:0", 128_000, None, EMBEDS, usd("0.12")),
)

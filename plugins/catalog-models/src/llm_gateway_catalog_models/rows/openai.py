"""OpenAI. Above 272,000 tokens of input other rates hold for the whole request; the source
gives those of fresh input and output, so cached input has no price there."""

from llm_gateway_catalog_models.row import (
    CALLS,
    EMBEDS,
    FORMS,
    SEES,
    THINKS,
    Meters,
    Row,
    Tariff,
    usd,
)

SOURCE = "LiteLLM 1.109.1, model map"
READ = "2026-11-23"
LONG = 272_000
SEES_FORMS = SEES | FORMS
THINKING = SEES_FORMS | THINKS


def chat(
    id: str,
    context: int,
    output: int,
    capabilities: frozenset[str],
    meters: Meters,
    long: tuple[str, str] | None = None,
    aliases: tuple[str, ...] = (),
) -> Row:
    above = ((LONG, usd(long[0], long[1])),) if long else ()
    prices = (Tariff(meters, above),)
    return Row(id, context, output, capabilities, prices, SOURCE, READ, aliases)


def think(id: str, meters: Meters, long: tuple[str, str] | None = None, **more: int) -> Row:
    context, output = more.get("context", 922_000), more.get("output", 128_000)
    return chat(id, context, output, THINKING, meters, long)


def embed(id: str, context: int, price: str) -> Row:
    return Row(id, context, None, EMBEDS, (Tariff(usd(price)),), SOURCE, READ)


SIX = (
    think("gpt-6-astra", usd("10", "50", cached="1", write="12.5"), ("20", "75")),
    think("gpt-6.1-sol", usd("2", "10", cached="0.10", write="2.5"), ("4", "15")),
    think("gpt-6-sol", usd("2", "10", cached="0.20", write="2.5"), ("4", "15")),
    think("gpt-6.1-terra", usd("1", "5", cached="0.05", write="1.25"), ("2", "7.5")),
    think("gpt-6-luna", usd("0.10", "0.50", cached="0.01"), ("0.2", "0.75")),
    think("gpt-5.6-sol", usd("4", "20", cached="0.40"), ("8", "30")),
    think("gpt-5.6-terra", usd("2", "12", cached="0.20"), ("4", "18")),
    think("gpt-5.6-luna", usd("0.2", "1.2", cached="0.02")),
)
ROWS = (
    *SIX,
    think("gpt-5.5", usd("5", "30", cached="0.50"), ("10", "45"), context=1_050_000),
    think("gpt-5.4", usd("2.5", "15", cached="0.25"), ("5", "22.5"), context=1_050_000),
    think("gpt-5.4-mini", usd("0.75", "4.5", cached="0.075"), context=272_000),
    think("gpt-5.4-nano", usd("0.2", "1.25", cached="0.02"), context=272_000),
    chat("gpt-4.1", 1_050_000, 32_000, SEES_FORMS, usd("2", "8", cached="0.5")),
    chat("gpt-4.1-mini", 1_050_000, 32_000, SEES_FORMS, usd("0.4", "1.6", cached="0.1")),
    chat("gpt-4o", 128_000, 16_000, SEES_FORMS, usd("2.5", "10", cached="1.25")),
    chat("gpt-4o-mini", 128_000, 16_000, SEES_FORMS, usd("0.15", "0.6", cached="0.075")),
    think("o3", usd("2", "8", cached="0.5"), context=200_000, output=100_000),
    chat(
        "gpt-audio-1.5",
        128_000,
        16_000,
        CALLS | FORMS | {"audio"},
        usd("2.5", "10", audio="32", audio_output="64"),
    ),
    embed("text-embedding-3-large", 8_191, "0.13"),
    embed("text-embedding-3-small", 8_191, "0.02"),
)

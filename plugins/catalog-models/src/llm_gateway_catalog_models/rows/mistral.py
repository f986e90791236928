"""Mistral."""

from llm_gateway_catalog_models.row import CALLS, EMBEDS, FORMS, THINKS, Meters, Row, Tariff, usd

SOURCE = "LiteLLM 1.109.1, model map"
READ = "2026-11-23"
TEXT = CALLS | FORMS
SEES = TEXT | {"vision"}
ALL = SEES | THINKS


def model(
    id: str,
    context: int,
    output: int | None,
    capabilities: frozenset[str],
    meters: Meters,
    *aliases: str,
    note: str = "",
) -> Row:
    return Row(id, context, output, capabilities, (Tariff(meters),), SOURCE, READ, aliases, note)


ROWS = (
    model("mistral-large-4", 1_050_000, 1_050_000, ALL, usd("1.36", "4.18", cached="0.14")),
    model(
        "mistral-large-2512",
        262_000,
        None,
        SEES,
        usd("0.5", "1.5", cached="0.05"),
        "mistral-large-latest",
        note="which model the name with latest means is not settled; the source says this one",
    ),
    model(
        "mistral-medium-2604",
        262_000,
        None,
        ALL,
        usd("1.5", "7.5", cached="0.15"),
        "mistral-medium-latest",
        "magistral-medium-latest",
    ),
    model(
        "mistral-small-2603",
        262_000,
        None,
        ALL,
        usd("0.15", "0.6", cached="0.015"),
        "mistral-small-latest",
        "magistral-small-latest",
    ),
    model("ministral-14b-2512", 262_000, None, SEES, usd("0.2", "0.2", cached="0.02")),
    model("ministral-8b-2512", 262_000, None, SEES, usd("0.15", "0.15", cached="0.015")),
    model("ministral-3b-2512", 131_000, None, SEES, usd("0.1", "0.1", cached="0.01")),
    model("codestral-2508", 128_000, None, TEXT, usd("0.3", "0.9", cached="0.03")),
    model("devstral-latest", 256_000, None, TEXT | THINKS, usd("0.4", "2", cached="0.04")),
    model("voxtral-small-latest", 32_000, None, TEXT | {"audio"}, usd("0.1", "0.4", cached="0.01")),
    model("zai-glm-5-3", 1_050_000, 131_000, TEXT | THINKS, usd("1.4", "4.4", cached="0.14")),
    model(
        "deepseek-v4-1-flash-1017",
        1_050_000,
        131_000,
        TEXT | THINKS,
        usd("0.3", "1.2", cached="0.007"),
    ),
    model("mistral-embed", 8_000, None, EMBEDS, usd("0.1")),
    model("codestral-embed", 8_000, None, EMBEDS, usd("0.15")),
)

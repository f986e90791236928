"""Anthropic. A write to the prompt cache costs 1.25 times the input, 2 times for an hour; a read
has a price of its own with each model."""

from decimal import Decimal

from llm_gateway_catalog_models.row import FORMS, SEES, THINKS, M, Meters, Row, Tariff, usd

SOURCE = "LiteLLM 1.109.1, model map, beside the vendor's model pages"
READ = "2026-11-23"
ALL = SEES | FORMS | THINKS | {"documents", "prompt_caching"}


def meters(input: str, cached: str, output: str) -> Meters:
    write, hour = Decimal(input) * Decimal("1.25"), Decimal(input) * 2
    return usd(input, output, cached=cached, write=f"{write:f}", write_1h=f"{hour:f}")


def model(id: str, input: str, cached: str, output: str, note: str = "") -> Row:
    prices = (Tariff(meters(input, cached, output)),)
    return Row(id, M, 128_000, ALL, prices, SOURCE, READ, note=note)


ROWS = (
    model("claude-fable-5-1", "10", "0.25", "50"),
    model("claude-opus-5-5", "4", "0.20", "20"),
    model(
        "claude-sonnet-5-5",
        "2",
        "0.10",
        "10",
        "an older copy of the vendor's page has 0.20 for a cached read",
    ),
    Row(
        "claude-haiku-5-5",
        M,
        128_000,
        ALL,
        (
            Tariff(
                meters("0.10", "0.01", "0.50"), above=((100_000, meters("0.50", "0.05", "2.50")),)
            ),
        ),
        SOURCE,
        READ,
        note="the rate of the prompt's size is taken for the whole request",
    ),
    model("claude-opus-5", "5", "0.50", "25"),
    model("claude-sonnet-5", "2", "0.20", "10"),
    model("claude-fable-5", "10", "1.00", "50"),
    model("claude-opus-4-8", "5", "0.50", "25"),
    model("claude-opus-4-6", "5", "0.50", "25"),
    model("claude-sonnet-4-6", "3", "0.30", "15"),
    Row(
        "claude-haiku-4-5",
        200_000,
        64_000,
        ALL,
        (Tariff(meters("1", "0.10", "5")),),
        SOURCE,
        READ,
    ),
)

"""Cohere. A ranking by an older model is charged by the search, by a newer one by the token."""

from llm_gateway_catalog_models.row import (
    CALLS,
    EMBEDS,
    FORMS,
    RANKS,
    TALKS,
    THINKS,
    Row,
    Tariff,
    usd,
)

SOURCE = "LiteLLM 1.109.1, model map, beside the vendor's documentation"
READ = "2026-11-23"
TEXT = TALKS | FORMS
TOOLS = CALLS | FORMS


def chat(
    id: str,
    context: int,
    output: int,
    capabilities: frozenset[str],
    price: tuple[str, str] | None = None,
) -> Row:
    prices = (Tariff(usd(*price)),) if price else ()
    note = "" if price else "no price is known"
    return Row(id, context, output, capabilities, prices, SOURCE, READ, note=note)


def tokens(id: str, context: int, capabilities: frozenset[str], price: str) -> Row:
    return Row(id, context, None, capabilities, (Tariff(usd(price)),), SOURCE, READ)


def searches(id: str, context: int, price: str) -> Row:
    """`price` is that of a million searches."""
    return Row(id, context, None, RANKS, (Tariff({"search_units": price}),), SOURCE, READ)


ROWS = (
    chat("command-a-plus-05-2026", 128_000, 64_000, TOOLS | {"vision"} | THINKS),
    chat("command-a-03-2025", 256_000, 8_000, TOOLS, ("2.5", "10")),
    chat("command-a-reasoning-08-2025", 256_000, 32_000, TOOLS | THINKS),
    chat("command-a-vision-07-2025", 128_000, 8_000, TEXT | {"vision"}),
    chat("command-a-translate-08-2025", 8_000, 8_000, TEXT),
    chat("command-r-plus-08-2024", 128_000, 4_000, TOOLS, ("2.5", "10")),
    chat("command-r-08-2024", 128_000, 4_000, TOOLS, ("0.15", "0.6")),
    chat("command-r7b-12-2024", 128_000, 4_000, TOOLS, ("0.0375", "0.15")),
    chat("c4ai-aya-expanse-32b", 128_000, 4_000, TEXT, ("0.5", "1.5")),
    tokens("embed-v5.0-pro", 128_000, EMBEDS, "0.12"),
    tokens("embed-v5.0-fast", 128_000, EMBEDS, "0.08"),
    tokens("embed-v4.0", 128_000, EMBEDS, "0.12"),
    tokens("rerank-v5.0-pro", 32_000, RANKS, "0.05"),
    tokens("rerank-v5.0-fast", 32_000, RANKS, "0.02"),
    searches("rerank-v4.0-pro", 32_000, "2500"),
    searches("rerank-v4.0-fast", 32_000, "2000"),
    searches("rerank-v3.5", 4_000, "2000"),
)

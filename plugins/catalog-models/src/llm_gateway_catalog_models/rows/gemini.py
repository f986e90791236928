"""Gemini, on AI Studio and, at the same prices, on Vertex AI's global endpoint."""

from llm_gateway_catalog_models.row import EMBEDS, FORMS, SEES, THINKS, Row, Tariff, usd

SOURCE = "LiteLLM 1.109.1, model map"
PAGES = "the vendor's model pages"
READ = "2026-11-23"
MILLION = 1_048_576
ALL = SEES | FORMS | THINKS | {"audio", "documents"}
LONG = 200_000


def chat(
    id: str, *prices: Tariff, logprobs: bool = False, source: str = SOURCE, note: str = ""
) -> Row:
    capabilities = ALL | {"logprobs"} if logprobs else ALL
    return Row(id, MILLION, 65_536, capabilities, prices, source, READ, note=note)


def embed(id: str, context: int, price: str) -> Row:
    return Row(id, context, None, EMBEDS, (Tariff(usd(price)),), SOURCE, READ)


PROMOTED = (
    Tariff(usd("0.75", "3.75", cached="0.075")),
    Tariff(usd("1.50", "7.50", cached="0.15"), since="2027-01-01"),
)
ROWS = (
    chat(
        "gemini-4-argon",
        Tariff(usd("2.00", "10", cached="0.10")),
        Tariff(usd("4.00", "20", cached="0.20"), since="2026-12-01"),
        source=f"{PAGES} and LiteLLM's discussion 46238",
        note="output and thinking share a budget of 1,048,576; one call stops after 65,536",
    ),
    chat("gemini-3.8-flash", *PROMOTED, source=PAGES),
    chat("gemini-3.7-flash", *PROMOTED, source=PAGES),
    chat("gemini-3.6-flash", *PROMOTED, source=PAGES),
    chat("gemini-3.5-flash", Tariff(usd("1.50", "9.00", cached="0.15"))),
    chat("gemini-3.5-flash-lite", Tariff(usd("0.30", "2.50", cached="0.03"))),
    chat(
        "gemini-3.1-pro-preview",
        Tariff(usd("2.00", "12", cached="0.20"), ((LONG, usd("4.00", "18", cached="0.40")),)),
    ),
    chat(
        "gemini-2.5-pro",
        Tariff(usd("1.25", "10", cached="0.125"), ((LONG, usd("2.50", "15", cached="0.25")),)),
        logprobs=True,
    ),
    chat(
        "gemini-2.5-flash", Tariff(usd("0.30", "2.50", cached="0.03", audio="1.00")), logprobs=True
    ),
    chat("gemini-2.5-flash-lite", Tariff(usd("0.10", "0.40", cached="0.01")), logprobs=True),
    embed("gemini-embedding-2", 8_192, "0.20"),
    embed("gemini-embedding-001", 2_048, "0.15"),
)

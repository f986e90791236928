"""Azure OpenAI by base model: global standard prices. Data zones charge 10 to 20 per cent more,
reserved throughput by the hour: such deployments want rows of their own."""

from llm_gateway_catalog_models.row import EMBEDS, Row, Tariff, usd
from llm_gateway_catalog_models.rows.openai import READ, SEES_FORMS, SOURCE, chat, think

ROWS = (
    think("gpt-6-astra", usd("10", "50", cached="1"), ("20", "75")),
    think("gpt-6.1-sol", usd("2", "10", cached="0.1"), ("4", "15")),
    think("gpt-6-sol", usd("2", "10", cached="0.2"), ("4", "15")),
    think("gpt-6.1-terra", usd("1", "5", cached="0.05"), ("2", "7.5")),
    think("gpt-6-luna", usd("0.1", "0.5", cached="0.01"), ("0.2", "0.75")),
    think("gpt-5.6-sol", usd("4", "20", cached="0.4"), ("8", "30")),
    think("gpt-5.6-terra", usd("2", "12", cached="0.2"), ("4", "18")),
    think("gpt-5.6-luna", usd("0.2", "1.2", cached="0.02")),
    think("gpt-5.5", usd("5", "30", cached="0.5"), ("10", "45")),
    think("gpt-5.4", usd("2.5", "15", cached="0.25"), ("5", "22.5")),
    think("gpt-5.4-mini", usd("0.75", "4.5", cached="0.075"), context=272_000),
    think("gpt-5.4-nano", usd("0.2", "1.25", cached="0.02"), context=272_000),
    chat("gpt-4.1", 1_050_000, 32_000, SEES_FORMS, usd("2", "8", cached="0.5")),
    chat("gpt-4.1-mini", 1_050_000, 32_000, SEES_FORMS, usd("0.4", "1.6", cached="0.1")),
    chat("gpt-4.1-nano", 1_050_000, 32_000, SEES_FORMS, usd("0.1", "0.4", cached="0.025")),
    chat("gpt-4o", 128_000, 16_000, SEES_FORMS, usd("2.5", "10", cached="1.25")),
    Row("text-embedding-3-large", 8_192, None, EMBEDS, (Tariff(usd("0.143")),), SOURCE, READ),
    Row("text-embedding-3-small", 8_192, None, EMBEDS, (Tariff(usd("0.022")),), SOURCE, READ),
)

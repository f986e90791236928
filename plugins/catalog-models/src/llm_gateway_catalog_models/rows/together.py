"""Together AI, models without a machine of one's own. They leave the vendor's list often."""

from llm_gateway_catalog_models.row import CALLS, FORMS, TALKS, THINKS, Row, Tariff, usd

SOURCE = "LiteLLM 1.109.1, model map"
READ = "2026-11-23"
TEXT = TALKS | FORMS
TOOLS = CALLS | FORMS
SEES = TOOLS | {"vision"}
LONG = 1_050_000


def model(
    id: str,
    context: int,
    capabilities: frozenset[str],
    input: str,
    output: str,
    cached: str | None = None,
    most: int | None = None,
) -> Row:
    prices = (Tariff(usd(input, output, cached=cached)),)
    return Row(id, context, most, capabilities, prices, SOURCE, READ)


ROWS = (
    model("deepseek-ai/DeepSeek-V4.1-Flash-1017", LONG, SEES, "0.3", "1.2", "0.006"),
    model("deepseek-ai/DeepSeek-V4-Pro-0813", LONG, TOOLS, "1.32", "3.96", "0.13"),
    model("moonshotai/Kimi-K3", LONG, SEES, "3", "15", "0.3"),
    model("zai-org/GLM-5.3", LONG, TOOLS, "1.4", "4.4", "0.26", most=128_000),
    model("zai-org/GLM-5.3-Flash", LONG, SEES, "0.15", "0.5", "0.03", most=128_000),
    model("Qwen/Qwen3.7-Max", 1_000_000, TEXT, "1.5", "4.5", "0.3"),
    model("Qwen/Qwen3.8-Flash", 1_000_000, TEXT, "0.15", "0.47"),
    model("Qwen/Qwen3.5-9B", 262_000, SEES, "0.17", "0.25"),
    model("openai/gpt-oss-120b", 131_000, TOOLS | THINKS, "0.15", "0.6"),
    model("MiniMaxAI/MiniMax-M3.1-Flash", LONG, TEXT, "0.15", "0.6", "0.015"),
    model("meta-models/Muse-Spark-Open-816B-A42B", LONG, TOOLS, "1.25", "4.25", "0.15"),
    model("nvidia/NVIDIA-Nemotron-3.5-Super-VL", 262_000, SEES, "0.15", "0.5", "0.02"),
    model("reflection/Beam-1.0-501B-A23B", LONG, TOOLS, "0.4", "1.2", "0.04"),
)

"""The vendor's models without a machine of one's own, as far as they are known, dated.

Source: LiteLLM's price map 1.109, read on 2026-11-23; prices in USD per million tokens. Models
leave this list often: one that left answers 404, and the next deployment is asked.
"""

import llm_gateway_api as gw

_TALKS = frozenset({"chat", "streaming", "structured_output"})
_CALLS = _TALKS | {"tools"}
_SEES = _CALLS | {"vision"}
ROWS = (
    gw.ModelInfo("deepseek-ai/DeepSeek-V4.1-Flash-1017", 1_050_000, None, _SEES, "0.3", "1.2"),
    gw.ModelInfo("deepseek-ai/DeepSeek-V4-Pro-0813", 1_050_000, None, _CALLS, "1.32", "3.96"),
    gw.ModelInfo("moonshotai/Kimi-K3", 1_050_000, None, _SEES, "3", "15"),
    gw.ModelInfo("zai-org/GLM-5.3", 1_050_000, 128_000, _CALLS, "1.4", "4.4"),
    gw.ModelInfo("zai-org/GLM-5.3-Flash", 1_050_000, 128_000, _SEES, "0.15", "0.5"),
    gw.ModelInfo("Qwen/Qwen3.7-Max", 1_000_000, None, _TALKS, "1.5", "4.5"),
    gw.ModelInfo("Qwen/Qwen3.8-Flash", 1_000_000, None, _TALKS, "0.15", "0.47"),
    gw.ModelInfo("Qwen/Qwen3.5-9B", 262_000, None, _SEES, "0.17", "0.25"),
    gw.ModelInfo("openai/gpt-oss-120b", 131_000, None, _CALLS | {"reasoning"}, "0.15", "0.6"),
    gw.ModelInfo("MiniMaxAI/MiniMax-M3.1-Flash", 1_050_000, None, _TALKS, "0.15", "0.6"),
    gw.ModelInfo("meta-models/Muse-Spark-Open-816B-A42B", 1_050_000, None, _CALLS, "1.25", "4.25"),
    gw.ModelInfo("nvidia/NVIDIA-Nemotron-3.5-Super-VL", 262_000, None, _SEES, "0.15", "0.5"),
    gw.ModelInfo("reflection/Beam-1.0-501B-A23B", 1_050_000, None, _CALLS, "0.4", "1.2"),
)

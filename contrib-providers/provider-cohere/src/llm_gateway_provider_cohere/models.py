"""The vendor's models as far as they are known, dated, and what an instance is told of others.

Source: Cohere's model pages and LiteLLM's price map 1.109, read on 2026-11-23; prices in USD
per million tokens. What is configured wins.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import llm_gateway_api as gw
import msgspec

_CHAT = frozenset({"chat", "streaming", "structured_output"})
_TOOLS = _CHAT | {"tools"}
_EMBED = frozenset({"embeddings"})
_RANK = frozenset({"rerank"})

ROWS = (
    gw.ModelInfo("command-a-plus-05-2026", 128_000, 64_000, _TOOLS | {"vision", "reasoning"}),
    gw.ModelInfo("command-a-03-2025", 256_000, 8_000, _TOOLS, "2.5", "10"),
    gw.ModelInfo("command-a-reasoning-08-2025", 256_000, 32_000, _TOOLS | {"reasoning"}),
    gw.ModelInfo("command-a-vision-07-2025", 128_000, 8_000, _CHAT | {"vision"}),
    gw.ModelInfo("command-a-translate-08-2025", 8_000, 8_000, _CHAT),
    gw.ModelInfo("command-r-plus-08-2024", 128_000, 4_000, _TOOLS, "2.5", "10"),
    gw.ModelInfo("command-r-08-2024", 128_000, 4_000, _TOOLS, "0.15", "0.6"),
    gw.ModelInfo("command-r7b-12-2024", 128_000, 4_000, _TOOLS, "0.0375", "0.15"),
    gw.ModelInfo("c4ai-aya-expanse-32b", 128_000, 4_000, _CHAT, "0.5", "1.5"),
    gw.ModelInfo("embed-v5.0-pro", 128_000, None, _EMBED, "0.12"),
    gw.ModelInfo("embed-v5.0-fast", 128_000, None, _EMBED, "0.08"),
    gw.ModelInfo("embed-v4.0", 128_000, None, _EMBED, "0.12"),
    gw.ModelInfo("rerank-v5.0-pro", 32_000, None, _RANK, "0.05"),
    gw.ModelInfo("rerank-v5.0-fast", 32_000, None, _RANK, "0.02"),
    gw.ModelInfo("rerank-v4.0-pro", 32_000, None, _RANK),
    gw.ModelInfo("rerank-v4.0-fast", 32_000, None, _RANK),
    gw.ModelInfo("rerank-v3.5", 4_000, None, _RANK),
)
KNOWN: Mapping[str, gw.ModelInfo] = MappingProxyType({each.id: each for each in ROWS})
# Sizes of vector that may be asked for; earlier models have one size.
DIMENSIONS = (256, 512, 1024, 1536)


def served(settings: gw.ProviderSettings) -> Mapping[str, gw.ModelInfo]:
    """The models of an instance: those configured, else all that are known."""
    if not settings.models:
        return KNOWN
    return {each.id: each for each in _configured(settings.models)}


def _configured(entries: Sequence[gw.ModelEntry | str]) -> list[gw.ModelInfo]:
    found = []
    for entry in entries:
        each = gw.ModelEntry(id=entry) if isinstance(entry, str) else entry
        known = KNOWN.get(each.id, gw.ModelInfo(each.id))
        found.append(
            gw.ModelInfo(
                each.id,
                each.context_window or known.context_window,
                each.max_output or known.max_output,
                frozenset(each.capabilities) or known.capabilities,
                known.input_price,
                known.output_price,
            )
        )
    return found


def reasons(model: str, models: Mapping[str, gw.ModelInfo]) -> bool:
    """Whether `model` takes ``thinking``; of an unknown one its name must say so."""
    info = models.get(model) or KNOWN.get(model)
    if info is not None and info.capabilities:
        return "reasoning" in info.capabilities
    return "reasoning" in model


def page(body: bytes) -> gw.ModelPage:
    """A page of the vendor's list, without the models that it gives up."""
    try:
        found = msgspec.json.decode(body, type=_Page)
    except msgspec.DecodeError as error:
        raise gw.UpstreamTruncatedError("the list of models could not be understood") from error
    kept = (each for each in found.models if not each.is_deprecated)
    return gw.ModelPage(
        tuple(gw.ModelInfo(each.name, each.context_length) for each in kept),
        found.next_page_token or None,
    )


class _Listed(msgspec.Struct):
    name: str
    context_length: int | None = None
    is_deprecated: bool = False


class _Page(msgspec.Struct):
    models: list[_Listed]
    next_page_token: str | None = None

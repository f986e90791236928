"""What each family of models can do, and the models known by name: data, no code path.

Sources: the vendor's model pages and SDK (google-genai 3.x) as of November 2026.
"""

from functools import lru_cache
from typing import Literal, NamedTuple

import llm_gateway_api as gw
import msgspec

MILLION = 1_048_576
PICTURES = ("image/png", "image/jpeg", "image/webp", "image/heic", "image/heif")


class Budgets(NamedTuple):
    """`thinkingBudget` in tokens for each effort."""

    none: int
    minimal: int
    low: int = 1024
    medium: int = 8192
    high: int = 24576
    xhigh: int = 24576


class Family(NamedTuple):
    """How models whose names start with `prefix` differ in what they take.

    `generation` 3 and later demands thought signatures and takes ids of calls, pictures in
    results, and functions beside JSON output. `budgets` or, where it is None, levels
    control thinking; `thinks` False: no control at all. `levels` are the ones taken.
    `whole` is how many tokens the vendor answers in one piece, where a stream may be longer.
    """

    prefix: str
    generation: int
    budgets: Budgets | None = None
    levels: tuple[str, ...] = ("LOW", "MEDIUM", "HIGH")
    thinks: bool = True
    sampling: bool = True
    penalties: bool = False
    logprobs: bool = False
    candidates: int = 1
    whole: int | None = None


ALL_LEVELS = ("MINIMAL", "LOW", "MEDIUM", "HIGH")

# The longest prefix that fits counts; a name that none fits is taken for a current model.
FAMILIES = (
    Family("gemini-2.5-pro", 2, Budgets(128, 128, xhigh=32768), penalties=True, logprobs=True),
    Family("gemini-2.5-flash-lite", 2, Budgets(0, 512), penalties=True, logprobs=True),
    Family("gemini-2.5-flash", 2, Budgets(0, 1), penalties=True, logprobs=True),
    Family("gemini-2", 2, thinks=False, penalties=True, logprobs=True),
    Family("gemini-1", 2, thinks=False, penalties=True, logprobs=True),
    Family("gemma", 2, thinks=False),
    Family("gemini-3", 3, levels=ALL_LEVELS),
    Family("gemini-3.1-pro", 3),
    Family("gemini-3.5-flash-lite", 3, levels=ALL_LEVELS, sampling=False),
    Family("gemini-3.6-flash", 3, levels=ALL_LEVELS, sampling=False),
    Family("gemini-3.7-flash", 3, sampling=False),
    Family("gemini-3.8-flash", 3, sampling=False),
    Family("gemini-4-argon", 4, sampling=False, whole=32_768),
    Family("", 4, whole=32_768),
)

LEVELS = {
    "none": "MINIMAL",
    "minimal": "MINIMAL",
    "low": "LOW",
    "medium": "MEDIUM",
    "high": "HIGH",
    "xhigh": "HIGH",
    "max": "HIGH",
}


class EmbeddingFamily(NamedTuple):
    """`operation` is Vertex AI's; `whole` the length of a vector that was not shortened,
    0 where a shortened one has unit length already."""

    prefix: str
    operation: Literal["embedContent", "predict"]
    whole: int = 0


EMBEDDINGS = (
    EmbeddingFamily("gemini-embedding-001", "embedContent", 3072),
    EmbeddingFamily("gemini-embedding", "embedContent"),
    EmbeddingFamily("", "predict", 768),
)

_CHAT = frozenset(
    {"chat", "streaming", "tools", "vision", "audio", "documents", "structured_output", "reasoning"}
)
_EMBED = frozenset({"embeddings"})


def _chat(name: str, price: str, out: str, more: frozenset[str] = frozenset()) -> gw.ModelInfo:
    return gw.ModelInfo(name, MILLION, 65_536, _CHAT | more, price, out)


# Prices in USD per million tokens, of November 2026 and of prompts up to 200,000 tokens.
KNOWN = (
    _chat("gemini-4-argon", "2.00", "10.00"),
    _chat("gemini-3.8-flash", "0.75", "3.75"),
    _chat("gemini-3.7-flash", "0.75", "3.75"),
    _chat("gemini-3.6-flash", "0.75", "3.75"),
    _chat("gemini-3.5-flash", "1.50", "9.00"),
    _chat("gemini-3.5-flash-lite", "0.30", "2.50"),
    _chat("gemini-3.1-pro-preview", "2.00", "12.00"),
    _chat("gemini-2.5-pro", "1.25", "10.00", frozenset({"logprobs"})),
    _chat("gemini-2.5-flash", "0.30", "2.50", frozenset({"logprobs"})),
    _chat("gemini-2.5-flash-lite", "0.10", "0.40", frozenset({"logprobs"})),
    gw.ModelInfo("gemini-embedding-2", 8_192, None, _EMBED, "0.20"),
    gw.ModelInfo("gemini-embedding-001", 2_048, None, _EMBED, "0.15"),
)


def bare(model: str) -> str:
    """The model's name without the folder that the vendor's list puts before it."""
    return model.removeprefix("models/")


@lru_cache(256)
def family(model: str) -> Family:
    name = bare(model)
    return max(
        (each for each in FAMILIES if name.startswith(each.prefix)),
        key=lambda each: len(each.prefix),
    )


def embedding_family(model: str) -> EmbeddingFamily:
    name = bare(model)
    return next(each for each in EMBEDDINGS if name.startswith(each.prefix))


class _Listed(msgspec.Struct, rename="camel"):
    name: str
    input_token_limit: int | None = None
    output_token_limit: int | None = None


class _Page(msgspec.Struct, rename="camel"):
    models: list[_Listed] = []
    publisher_models: list[_Listed] = []  # Vertex AI's name for it
    next_page_token: str | None = None


def page(body: bytes) -> gw.ModelPage:
    """A page of the vendor's list."""
    try:
        found = msgspec.json.decode(body, type=_Page)
    except msgspec.DecodeError as error:
        raise gw.UpstreamTruncatedError("the list of models could not be understood") from error
    rows = (
        gw.ModelInfo(each.name.rpartition("/")[2], each.input_token_limit, each.output_token_limit)
        for each in (*found.models, *found.publisher_models)
    )
    return gw.ModelPage(tuple(rows), found.next_page_token or None)

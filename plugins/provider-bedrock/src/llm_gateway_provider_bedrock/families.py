"""What each family of models takes, as data: the first row that matches a model's id wins.

The id is the vendor's own without a region's prefix. An ARN that does not show its model
(application inference profile, provisioned or imported model) is looked up in
``base_models`` of the settings.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Literal
from urllib.parse import quote

import llm_gateway_api as gw
import msgspec

Thinking = Literal["none", "budget", "adaptive", "always", "nova", "effort"]
Sampling = Literal["both", "one", "none"]

REGIONS = ("us-gov", "us", "eu", "apac", "jp", "au", "ca", "sa", "me", "af", "global")
_PREFIX = re.compile(rf"^(?:{'|'.join(REGIONS)})\.")
_ARN = re.compile(r"^arn:aws[a-z-]*:[a-z-]+:([a-z0-9-]*):[0-9]*:(.+)$")
_SHOWN = ("foundation-model/", "inference-profile/")
MAX_ID = 2048
MAX_MODELS = 256  # ids whose meaning is kept at hand; a client may send any


class Family(msgspec.Struct, frozen=True):
    """Abilities and manners of one family.

    `sampling` is what it takes of temperature and top_p; `thinking` how reasoning is asked
    for, `efforts` the words it takes; `choices` the forced tool choices; `top_k` where that
    parameter goes, as a path into the additional fields; `alone` refuses anything beside
    tool results; `plain_schema` takes of a tool's schema the first level's type, properties
    and required only; `replays` takes its own reasoning back; `results_status` takes the status
    of a tool result; `mid_system` a system message in the middle; `prefill` a last turn of
    the assistant.
    """

    name: str
    sampling: Sampling = "both"
    thinking: Thinking = "none"
    efforts: tuple[str, ...] = ()
    choices: frozenset[str] = frozenset()
    top_k: tuple[str, ...] | None = None
    tools: bool = True
    images: bool = False
    documents: bool = False
    cache_points: bool = False
    cache_ttl: bool = False
    alone: bool = False
    plain_schema: bool = False
    replays: bool = False
    results_status: bool = False
    mid_system: bool = False
    prefill: bool = True
    structured: bool = False
    serial_calls: bool = False


_FORCED = frozenset({"any", "tool"})
_LOW_HIGH = ("low", "medium", "high")
_LOW_MAX = (*_LOW_HIGH, "max")
_ALL_EFFORTS = (*_LOW_HIGH, "xhigh", "max")
_CLAUDE = Family(
    "claude", thinking="budget", choices=_FORCED, top_k=("top_k",), images=True, documents=True,
    cache_points=True, replays=True, results_status=True, serial_calls=True,
)  # fmt: skip
_CLAUDE_45 = msgspec.structs.replace(_CLAUDE, sampling="one", structured=True, cache_ttl=True)
_CLAUDE_46 = msgspec.structs.replace(
    _CLAUDE_45, thinking="adaptive", efforts=_LOW_MAX, prefill=False
)
_CLAUDE_47 = msgspec.structs.replace(_CLAUDE_46, sampling="none", efforts=_ALL_EFFORTS, top_k=None)
_CLAUDE_5 = msgspec.structs.replace(_CLAUDE_47, mid_system=True)
_CLAUDE_55 = msgspec.structs.replace(_CLAUDE_5, thinking="always", choices=frozenset())
_NOVA = Family(
    "nova", choices=_FORCED, top_k=("inferenceConfig", "topK"), images=True, documents=True,
    cache_points=True, results_status=True, plain_schema=True,
)  # fmt: skip

FAMILIES: tuple[tuple[re.Pattern[str], Family], ...] = tuple(
    (re.compile(pattern), family)
    for pattern, family in (
        (r"anthropic\.claude-haiku-5-5", msgspec.structs.replace(_CLAUDE_5, choices=_FORCED)),
        (r"anthropic\.claude-(opus|sonnet)-5-5", _CLAUDE_55),
        (r"anthropic\.claude-(fable|mythos)-5-1", _CLAUDE_55),
        (
            r"anthropic\.claude-(fable|mythos)",
            msgspec.structs.replace(_CLAUDE_5, thinking="always"),
        ),
        (r"anthropic\.claude-(opus|sonnet)-5", _CLAUDE_5),
        (r"anthropic\.claude-opus-4-8", _CLAUDE_5),
        (r"anthropic\.claude-opus-4-7", _CLAUDE_47),
        (r"anthropic\.claude-(opus|sonnet)-4-6", _CLAUDE_46),
        (r"anthropic\.claude-opus-4-5", msgspec.structs.replace(_CLAUDE_45, efforts=_LOW_HIGH)),
        (r"anthropic\.claude-(sonnet|haiku)-4-5", _CLAUDE_45),
        (r"anthropic\.claude-(opus|sonnet)-4|anthropic\.claude-3-7", _CLAUDE),
        (r"anthropic\.claude", msgspec.structs.replace(_CLAUDE, thinking="none")),
        (r"amazon\.nova-2", msgspec.structs.replace(_NOVA, thinking="nova", efforts=_LOW_HIGH)),
        (r"amazon\.nova-micro", msgspec.structs.replace(_NOVA, images=False, documents=False)),
        (r"amazon\.nova", _NOVA),
        (
            r"openai\.gpt-oss",
            Family("gpt-oss", thinking="effort", efforts=_LOW_HIGH, choices=frozenset({"any"})),
        ),
        (r"meta\.llama4", Family("llama", images=True, documents=True, alone=True)),
        (r"meta\.llama3-2-(11|90)b", Family("llama", images=True, documents=True, alone=True)),
        (r"meta\.llama", Family("llama", alone=True, documents=True)),
        (
            r"mistral\.(mistral-large-3|pixtral|ministral)",
            Family("mistral", images=True, alone=True, documents=True, choices=frozenset({"any"})),
        ),
        (
            r"mistral\.",
            Family("mistral", alone=True, documents=True, choices=frozenset({"any"})),
        ),
        (r"cohere\.command", Family("cohere", documents=True)),
        (r"deepseek\.r1", Family("deepseek", tools=False)),
        (r"deepseek\.", Family("deepseek")),
        (r"qwen\.", Family("qwen")),
        (r"", Family("other", images=True, documents=True, choices=_FORCED)),
    )
)


@lru_cache(MAX_MODELS)
def _shown(model: str) -> str:
    """The vendor's id that `model` shows; empty where it shows none."""
    if found := _ARN.match(model):
        resource = found.group(2)
        if not resource.startswith(_SHOWN):
            return ""
        model = resource.partition("/")[2]
    return _PREFIX.sub("", model)


def base_model(model: str, known: Mapping[str, str]) -> str:
    """The vendor's id behind `model`: an id, a profile of several regions, or an ARN."""
    return _shown(known.get(model, model))


@lru_cache(MAX_MODELS)
def family_of(base: str) -> Family:
    return next(family for pattern, family in FAMILIES if pattern.match(base))


def region_of(model: str) -> str | None:
    """The region that an ARN names; None where it names none."""
    found = _ARN.match(model)
    return (found.group(1) or None) if found else None


def segment(model: str) -> str:
    """`model` as one segment of a path.

    Raises:
        ModelNotFoundError: no vendor's id is so long, or empty.
    """
    if not model or len(model) > MAX_ID:
        raise gw.ModelNotFoundError("A Bedrock model id has 1 to 2048 characters.", param="model")
    return quote(model, safe="-_.~")

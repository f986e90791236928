"""What each model takes: rows and thresholds, matched by family and version.

Source: the vendor's model pages and the capabilities of its model list, November 2026. A
name that no rule reads gets the permissive profile: there the vendor judges.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

import llm_gateway_api as gw
import msgspec

_NEW = re.compile(r"claude-([a-z]+)-(\d{1,2})(?:-(\d{1,2}))?(?![0-9a-z])")
_OLD = re.compile(r"claude-(\d)(?:-(\d))?-([a-z]+)")
_ALWAYS_THINKING = ("fable", "mythos")
_THREE = ("low", "medium", "high")
_FOUR = (*_THREE, "max")
_FIVE = (*_THREE, "xhigh", "max")


@dataclass(frozen=True, slots=True)
class Profile:
    """What one model takes. `thinking` holds the accepted types of ``thinking``, the one
    that ``reasoning_effort`` becomes first; `efforts` the accepted words of
    ``output_config.effort``; `hidden` means that thoughts come empty unless asked for."""

    sampling: bool = True
    forced_choice: bool = True
    prefill: bool = True
    mid_system: bool = False
    structured: bool = True
    thinking: tuple[str, ...] = ("adaptive", "enabled", "disabled", "between_tools")
    efforts: tuple[str, ...] = _FIVE
    hidden: bool = False
    max_output: int | None = None


@lru_cache(maxsize=1024)
def profile(model: str) -> Profile:
    """The profile of the vendor's `model`, by whatever cloud's name it goes."""
    found = version(model)
    if found is None:
        return Profile(max_output=_output(model))
    family, number = found
    myth = family in _ALWAYS_THINKING
    return Profile(
        sampling=not myth and number < (4, 7),
        forced_choice=number < ((5, 1) if myth else (5, 5)) or family == "haiku",
        prefill=not myth and number < (4, 6),
        mid_system=number >= (4, 8),
        structured=number >= (4, 5),
        thinking=_thinking(family, number),
        efforts=_efforts(family, number),
        hidden=number >= (4, 7),
        max_output=_output(model),
    )


def version(model: str) -> tuple[str, tuple[int, int]] | None:
    """Family and version in the name, a date never taken for a minor version."""
    if match := _NEW.search(model):
        return match[1], (int(match[2]), int(match[3] or 0))
    if match := _OLD.search(model):
        return match[3], (int(match[1]), int(match[2] or 0))
    return None


def _thinking(family: str, number: tuple[int, int]) -> tuple[str, ...]:
    if family in _ALWAYS_THINKING:
        return ("adaptive",)
    if number >= (5, 5):
        return ("adaptive", "between_tools") if family == "sonnet" else ("adaptive",)
    if number >= (4, 7):
        return ("adaptive", "disabled")
    if number >= (4, 6):
        return ("adaptive", "enabled", "disabled")
    return ("enabled", "disabled") if number >= (3, 7) else ()


def _efforts(family: str, number: tuple[int, int]) -> tuple[str, ...]:
    if number >= (4, 7):
        return _FIVE
    if number >= (4, 6):
        return _FOUR
    return _THREE if (family, number) == ("opus", (4, 5)) else ()


@dataclass(frozen=True, slots=True)
class Row:
    """One model as the vendor lists it; prices in USD per million tokens, None where they
    depend on the size of the prompt."""

    id: str
    context: int
    output: int
    input_price: str | None
    output_price: str | None


ROWS = (
    Row("claude-fable-5-1", 1_000_000, 128_000, "10", "50"),
    Row("claude-opus-5-5", 1_000_000, 128_000, "4", "20"),
    Row("claude-sonnet-5-5", 1_000_000, 128_000, "2", "10"),
    Row("claude-haiku-5-5", 1_000_000, 128_000, None, None),
    Row("claude-opus-5", 1_000_000, 128_000, "5", "25"),
    Row("claude-sonnet-5", 1_000_000, 128_000, "2", "10"),
    Row("claude-fable-5", 1_000_000, 128_000, "10", "50"),
    Row("claude-opus-4-8", 1_000_000, 128_000, "5", "25"),
    Row("claude-opus-4-6", 1_000_000, 128_000, "5", "25"),
    Row("claude-sonnet-4-6", 1_000_000, 128_000, "3", "15"),
    Row("claude-haiku-4-5", 200_000, 64_000, "1", "5"),
)


def _row(model: str) -> Row | None:
    """The row of `model`, with or without the date of a snapshot."""
    for each in ROWS:
        if re.fullmatch(re.escape(each.id) + r"(-\d{8})?", model):
            return each
    return None


def _output(model: str) -> int | None:
    row = _row(model)
    return row.output if row else None


def info(model: str) -> gw.ModelInfo:
    """What is known of `model`."""
    row, takes = _row(model), profile(model)
    capabilities = {"chat", "streaming", "tools", "vision", "documents", "prompt_caching"}
    if takes.structured:
        capabilities.add("structured_output")
    if takes.thinking:
        capabilities.add("reasoning")
    if row is None:
        return gw.ModelInfo(model, capabilities=frozenset(capabilities))
    return gw.ModelInfo(
        model,
        row.context,
        row.output,
        frozenset(capabilities),
        row.input_price,
        row.output_price,
    )


class _Listed(msgspec.Struct):
    id: str


class _Page(msgspec.Struct):
    data: list[_Listed]
    has_more: bool = False
    last_id: str | None = None


def page(body: bytes) -> gw.ModelPage:
    """A page of the vendor's list, with what the table knows of each model."""
    try:
        found = msgspec.json.decode(body, type=_Page)
    except msgspec.DecodeError as error:
        raise gw.UpstreamTruncatedError("the list of models could not be understood") from error
    return gw.ModelPage(
        tuple(info(each.id) for each in found.data), found.last_id if found.has_more else None
    )

"""How much a model thinks: ``reasoning_effort`` and ``thinking`` by what the model takes."""

from collections.abc import Mapping
from typing import Any

import msgspec

from llm_gateway_provider_anthropic.profiles import Profile

MIN_BUDGET = 1024
BUDGETS = {"minimal": 1024, "low": 1024, "medium": 4096, "high": 16384, "xhigh": 32768}
LEAST = "low"


class Thinking(msgspec.Struct, frozen=True):
    """`config` is the member ``thinking``, `effort` that of ``output_config``; None is
    omitted. `chosen` says that the client spelled ``thinking`` out itself."""

    config: dict[str, Any] | None = None
    effort: str | None = None
    chosen: bool = False

    @property
    def budget(self) -> int:
        config = self.config
        manual = config is not None and config.get("type") == "enabled"
        return int(config["budget_tokens"]) if config is not None and manual else 0


def asked(params: Mapping[str, Any], takes: Profile) -> Thinking:
    """What the request wants, in the forms that the model takes."""
    effort, given = params.get("reasoning_effort"), params.get("thinking")
    if isinstance(given, dict):
        return _translated(given, effort, takes)
    if effort is None:
        return Thinking()
    if effort == "none":
        return _none(takes)
    return _some(str(effort), takes)


def _translated(given: dict[str, Any], effort: object, takes: Profile) -> Thinking:
    """The client's own ``thinking``: as it is, or the nearest that the model takes."""
    kind = given.get("type")
    words = _effort(effort if isinstance(effort, str) and effort != "none" else None, takes)
    if kind in takes.thinking:
        return Thinking(given, words, True)
    if kind in ("disabled", "between_tools"):
        return _none(takes)
    if kind == "enabled" and "adaptive" in takes.thinking:
        return _some(words or _by_budget(given.get("budget_tokens")), takes)
    return _some(words or "medium", takes) if takes.thinking else Thinking()


def _none(takes: Profile) -> Thinking:
    """As little as the model can: off, between tools only, or its least effort."""
    if "disabled" in takes.thinking:
        return Thinking({"type": "disabled"} if "adaptive" in takes.thinking else None)
    if "between_tools" in takes.thinking:
        return Thinking({"type": "between_tools"})
    return Thinking(None, _effort(LEAST, takes))


def _some(effort: str, takes: Profile) -> Thinking:
    if "adaptive" in takes.thinking:
        config = {"type": "adaptive"}
        if takes.hidden:
            config["display"] = "summarized"
        return Thinking(config, _effort(effort, takes))
    if "enabled" in takes.thinking:
        budget = BUDGETS.get(effort, BUDGETS["xhigh"])
        return Thinking({"type": "enabled", "budget_tokens": budget}, _effort(effort, takes))
    return Thinking()


def _effort(effort: str | None, takes: Profile) -> str | None:
    """The nearest word that the model knows; None where it knows none."""
    if effort is None or not takes.efforts:
        return None
    if effort == "minimal":
        return LEAST
    return effort if effort in takes.efforts else "high"


def _by_budget(budget: object) -> str:
    if not isinstance(budget, int):
        return "medium"
    return "low" if budget < 2048 else "medium" if budget < 8192 else "high"


def unsupported(params: Mapping[str, Any], takes: Profile) -> bool:
    """Whether effort was asked of a model that does not think."""
    return not takes.thinking and params.get("reasoning_effort") not in (None, "none")


__all__ = ["MIN_BUDGET", "Thinking", "asked", "unsupported"]

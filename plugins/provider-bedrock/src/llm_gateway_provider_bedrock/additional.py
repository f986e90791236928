"""Reasoning and other parameters that only one family of models takes.

They go into ``additionalModelRequestFields``, whose form is the model's own.
"""

from collections.abc import Mapping
from typing import Any

import llm_gateway_api as gw

from llm_gateway_provider_bedrock.families import Family

MIN_BUDGET = 1024
BUDGETS = {"minimal": 1024, "low": 1024, "medium": 4096, "high": 16384, "xhigh": 32768}
BUDGETS["max"] = BUDGETS["xhigh"]
_LADDER = ("minimal", "low", "medium", "high", "xhigh", "max")


class Outcome:
    """What becomes of the parameters of one request."""

    def __init__(self) -> None:
        self.inference: dict[str, Any] = {}
        self.fields: dict[str, Any] = {}
        self.output: dict[str, Any] = {}
        self.dropped: list[str] = []

    @property
    def thinks(self) -> bool:
        """Whether reasoning is asked for by name."""
        thinking = self.fields.get("thinking")
        return isinstance(thinking, dict) and thinking.get("type") != "disabled"


def effort(family: Family, value: object, out: Outcome) -> None:
    """Write ``reasoning_effort`` in the form of `family`, or note that it was dropped."""
    if not isinstance(value, str) or value not in ("none", *_LADDER):
        raise gw.UnsupportedParameterError(
            f"reasoning_effort is one of none, {', '.join(_LADDER)}.", param="reasoning_effort"
        )
    _EFFORT[family.thinking](family, value, out)


def _nothing(family: Family, value: str, out: Outcome) -> None:
    if value != "none":
        out.dropped.append("reasoning_effort")


def _budget(family: Family, value: str, out: Outcome) -> None:
    if value == "none":
        return
    out.fields["thinking"] = {"type": "enabled", "budget_tokens": BUDGETS[value]}
    if family.efforts:
        out.output["effort"] = nearest(family, value)


def _adaptive(family: Family, value: str, out: Outcome) -> None:
    if value == "none":
        out.fields["thinking"] = {"type": "disabled"}
        return
    out.fields["thinking"] = {"type": "adaptive", "display": "summarized"}
    out.output["effort"] = nearest(family, value)


def _always(family: Family, value: str, out: Outcome) -> None:
    """Reasons whatever is asked for: none is the least there is."""
    if value != "none":
        out.fields["thinking"] = {"type": "adaptive", "display": "summarized"}
    out.output["effort"] = nearest(family, value)


def _nova(family: Family, value: str, out: Outcome) -> None:
    if value == "none":
        out.fields["reasoningConfig"] = {"type": "disabled"}
        return
    level = nearest(family, value)
    out.fields["reasoningConfig"] = {"type": "enabled", "maxReasoningEffort": level}
    if level == "high":
        out.dropped += [
            name
            for name, key in (
                ("max_tokens", "maxTokens"),
                ("temperature", "temperature"),
                ("top_p", "topP"),
            )
            if out.inference.pop(key, None) is not None
        ]


def _effort(family: Family, value: str, out: Outcome) -> None:
    if value == "none":
        out.dropped.append("reasoning_effort")
    else:
        out.fields["reasoning_effort"] = nearest(family, value)


_EFFORT = {
    "none": _nothing,
    "budget": _budget,
    "adaptive": _adaptive,
    "always": _always,
    "nova": _nova,
    "effort": _effort,
}


def nearest(family: Family, value: str) -> str:
    """The word of `family` that asks for as much as `value`, or for the next less."""
    wanted = _LADDER.index(value) if value in _LADDER else 0
    able = [each for each in family.efforts if _LADDER.index(each) <= wanted]
    return able[-1] if able else family.efforts[0]


def thinking(family: Family, value: object, out: Outcome) -> None:
    """The form of Anthropic's dialect, which says more than an effort can."""
    if not isinstance(value, Mapping) or not isinstance(kind := value.get("type"), str):
        raise gw.UnsupportedParameterError("thinking is an object with a type.", param="thinking")
    if family.name == "claude":
        _claude_thinking(family, kind, dict(value), out)
    elif kind == "disabled" and family.thinking in ("none", "nova"):
        return
    elif kind == "disabled":
        out.dropped.append("thinking")
    else:
        _EFFORT[family.thinking](family, _as_effort(value.get("budget_tokens")), out)


def _claude_thinking(family: Family, kind: str, value: dict[str, Any], out: Outcome) -> None:
    if family.thinking == "none":
        if kind != "disabled":
            out.dropped.append("thinking")
    elif kind == "adaptive" and family.thinking == "budget":
        out.fields["thinking"] = {"type": "enabled", "budget_tokens": BUDGETS["medium"]}
    elif kind == "enabled" and family.thinking in ("adaptive", "always"):
        out.fields["thinking"] = {"type": "adaptive", "display": "summarized"}
        out.output.setdefault("effort", nearest(family, _as_effort(value.get("budget_tokens"))))
    elif kind == "disabled" and family.thinking == "always":
        out.dropped.append("thinking")
    else:
        out.fields["thinking"] = value


def _as_effort(budget: object) -> str:
    if not isinstance(budget, int):
        return "medium"
    return "low" if budget < BUDGETS["medium"] else "medium" if budget < BUDGETS["high"] else "high"


def settle(family: Family, out: Outcome) -> None:
    """Make room for what reasoning needs, and take out what it refuses beside it."""
    asked = out.fields.get("thinking")
    if not isinstance(asked, dict) or asked.get("type") != "enabled":
        return
    budget = asked.get("budget_tokens")
    limit = out.inference.get("maxTokens")
    if isinstance(budget, int) and isinstance(limit, int) and limit <= budget:
        out.inference["maxTokens"] = budget + limit
    if out.inference.pop("temperature", None) is not None:
        out.dropped.append("temperature")
    if out.fields.pop("top_k", None) is not None:
        out.dropped.append("top_k")


def put(target: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    """Set `value` at `path` below `target`."""
    for name in path[:-1]:
        target = target.setdefault(name, {})
    target[path[-1]] = value

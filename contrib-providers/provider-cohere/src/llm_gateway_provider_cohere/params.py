"""What becomes of each tuning parameter, as data: mapped, dropped by name, or refused by name.

Source: Cohere's OpenAPI of /v2/chat and the types of its SDK 7.3.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import llm_gateway_api as gw
import msgspec


class Rule(msgspec.Struct, frozen=True):
    """`to` is the vendor's member; without it the parameter is dropped, or `refused`.

    A number outside of `low` and `high` is refused. `narrow` is the part of that range which
    the vendor takes: its ends stand for what lies beyond. A value of `neutral` asks for what
    the vendor does anyway. `most` limits a list.
    """

    to: str | None = None
    low: float | None = None
    high: float | None = None
    narrow: tuple[float, float] | None = None
    neutral: tuple[object, ...] = ()
    most: int | None = None
    convert: Callable[[Any], object] | None = None
    refused: bool = False


def response_format(given: Mapping[str, Any]) -> object:
    """The vendor knows one JSON mode; a schema stands beside its type, without a name."""
    kind = given.get("type")
    if kind in ("text", "json_object"):
        return {"type": kind}
    if kind == "json_schema":
        schema = given["json_schema"].get("schema")
        return {"type": "json_object", **({} if schema is None else {"json_schema": schema})}
    raise gw.UnsupportedParameterError(
        f"Cohere has no response format {kind!r}; use json_schema.", param="response_format.type"
    )


OUTCOMES: Mapping[str, Rule] = MappingProxyType(
    {
        "max_tokens": Rule("max_tokens"),
        "temperature": Rule("temperature", 0, 1),
        "top_p": Rule("p", 0, 1, narrow=(0.01, 0.99)),
        "top_k": Rule("k", 0, 500),
        "frequency_penalty": Rule("frequency_penalty", 0, 1),
        "presence_penalty": Rule("presence_penalty", 0, 1),
        "seed": Rule("seed", 0, 2**64),
        "stop": Rule("stop_sequences", most=5),
        "logprobs": Rule("logprobs", neutral=(False,)),
        "response_format": Rule("response_format", convert=response_format),
        "top_logprobs": Rule(refused=True, neutral=(0,)),
        "n": Rule(refused=True, neutral=(1,)),
        "logit_bias": Rule(refused=True, neutral=({},)),
        "audio": Rule(refused=True),
        "modalities": Rule(refused=True, neutral=(["text"],)),
        "web_search_options": Rule(refused=True),
        "moderation": Rule(refused=True),
        "parallel_tool_calls": Rule(neutral=(True,)),
        "user": Rule(),
        "safety_identifier": Rule(),
        "store": Rule(),
        "metadata": Rule(),
        "service_tier": Rule(),
        "verbosity": Rule(),
        "prediction": Rule(),
        "prompt_cache_key": Rule(),
        "prompt_cache_options": Rule(),
        "prompt_cache_retention": Rule(),
    }
)
UNKNOWN = Rule()
# Members of the vendor's own that a client of OpenAI's dialect may add to its body.
OWN = frozenset(
    {"documents", "citation_options", "safety_mode", "thinking", "priority", "strict_tools"}
)


def outcome(
    given: Mapping[str, object], clamp: bool, rules: Mapping[str, Rule] = OUTCOMES
) -> tuple[dict[str, object], list[str]]:
    """The vendor's members, and the names of the parameters that are left out.

    Raises:
        UnsupportedParameterError: a value that the vendor cannot take; null is omitted.
    """
    mapped: dict[str, object] = {}
    dropped: list[str] = []
    for name, value in given.items():
        rule = rules.get(name, UNKNOWN)
        if value is None or value in rule.neutral:
            continue
        if rule.refused:
            raise gw.UnsupportedParameterError(
                f"Cohere does not take {name!r} with this value; leave it out.", param=name
            )
        if rule.to is None:
            dropped.append(name)
        else:
            mapped[rule.to] = _value(name, value, rule, clamp)
    return mapped, dropped


def _value(name: str, value: Any, rule: Rule, clamp: bool) -> object:
    if rule.convert is not None:
        return rule.convert(value)
    if rule.most is not None and len(value) > rule.most:
        raise gw.UnsupportedParameterError(
            f"Cohere takes at most {rule.most} entries in {name!r}.", param=name
        )
    if rule.low is None or rule.high is None:
        return value
    if not rule.low <= value <= rule.high:
        if not clamp:
            raise gw.UnsupportedParameterError(
                f"Cohere takes {name!r} from {rule.low:g} to {rule.high:g}.", param=name
            )
        value = min(max(value, rule.low), rule.high)
    low, high = rule.narrow or (rule.low, rule.high)
    return low if value < low else high if value > high else value

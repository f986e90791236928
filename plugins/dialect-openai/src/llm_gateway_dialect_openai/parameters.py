"""What becomes of each parameter: mapped, dropped and reported, or refused by name."""

import re
from collections.abc import Mapping
from fnmatch import translate
from functools import lru_cache
from typing import Any, Literal

import llm_gateway_api as gw

from llm_gateway_dialect_openai.quirks import ParameterRule, Quirks

Outcome = Literal["mapped", "dropped", "refused"]
UNKNOWN: tuple[Outcome, str] = ("dropped", "")
MAX_TABLES = 256  # models whose rules are kept at hand; a client may name any

# OpenAI's own, but for those with a form of their own in a canonical request.
NAMES = frozenset(
    {
        "max_tokens", "temperature", "top_p", "n", "stop", "presence_penalty",
        "frequency_penalty", "logit_bias", "logprobs", "top_logprobs", "seed",
        "response_format", "reasoning_effort", "verbosity", "parallel_tool_calls", "user",
        "safety_identifier", "metadata", "service_tier", "store", "modalities", "audio",
        "prediction", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention",
        "moderation", "web_search_options", "stream_options",
    }
)  # fmt: skip
# What asks for nothing: where a parameter is refused, these values are merely left out.
NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "n": (1,),
    "stop": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "modalities": (["text"],),
    "store": (False,),
}


class Rules:
    """The parameter rules of one instance, compiled once and asked for each request."""

    def __init__(self, quirks: Quirks) -> None:
        everywhere = ParameterRule(
            rename={"max_tokens": quirks.max_tokens_field},
            drop=quirks.drop_fields,
            refuse=quirks.reject_fields,
        )
        self._rules = [
            (re.compile(translate(each.models)), each) for each in (everywhere, *quirks.parameters)
        ]
        self._known = NAMES | frozenset(quirks.extra_fields)
        self._null = quirks.send_null
        self._table = lru_cache(MAX_TABLES)(self._compiled)

    def applied(self, model: str, params: gw.Params) -> tuple[dict[str, Any], list[str]]:
        """The parameters by the vendor's names, and the names that were left out.

        Raises:
            UnsupportedParameterError: a rule refuses one.
        """
        table = self._table(model)
        body: dict[str, Any] = {}
        dropped: list[str] = []
        for name, value in params.items():
            outcome, renamed = table.get(name, UNKNOWN)
            if outcome == "refused" and not neutral(name, value):
                raise gw.UnsupportedParameterError(
                    f"{model} does not take {name!r}; leave it out.", param=name
                )
            if outcome != "mapped":
                dropped.append(name)
            elif value is not None or self._null:
                body[renamed] = value
        return body, dropped

    def _compiled(self, model: str) -> Mapping[str, tuple[Outcome, str]]:
        """What becomes of each parameter that is known or refused, and the vendor's name of it."""
        rules = [rule for pattern, rule in self._rules if pattern.match(model)]
        refused = {name for rule in rules for name in rule.refuse}
        dropped = {name for rule in rules for name in rule.drop}
        table: dict[str, tuple[Outcome, str]] = {}
        for name in self._known | refused:
            outcome: Outcome = "dropped" if name in dropped else "mapped"
            table[name] = ("refused" if name in refused else outcome, _renamed(name, rules))
        return table


def _renamed(name: str, rules: list[ParameterRule]) -> str:
    """The last rule that renames it wins, so that a model's rule goes over the server's."""
    for rule in reversed(rules):
        if name in rule.rename:
            return rule.rename[name]
    return name


def neutral(name: str, value: object) -> bool:
    return value is None or value in NEUTRAL.get(name, ())

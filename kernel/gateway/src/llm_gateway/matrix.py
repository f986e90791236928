"""What becomes of each parameter with a model: found by having its provider encode one.

Nothing is kept beside the code that could say otherwise than the code does.
"""

import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from llm_gateway_api import (
    ChatRequest,
    ClientError,
    DirectProvider,
    Message,
    ParameterOutcome,
    Provider,
    TextPart,
    Tool,
    ToolChoice,
    UpstreamRequest,
)

log = logging.getLogger("llm_gateway.matrix")
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
}
SCHEMA |= {"additionalProperties": False}
# A value of each that asks for something, so that leaving it out changes the answer.
SAMPLES: Mapping[str, Any] = MappingProxyType(
    {
        "max_tokens": 77,
        "temperature": 0.5,
        "top_p": 0.5,
        "n": 2,
        "stop": ["END"],
        "presence_penalty": 0.5,
        "frequency_penalty": 0.5,
        "logit_bias": {"50": 1},
        "logprobs": True,
        "top_logprobs": 2,
        "seed": 7,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "a", "schema": SCHEMA, "strict": True},
        },
        "reasoning_effort": "high",
        "verbosity": "low",
        "parallel_tool_calls": False,
        "user": "someone",
        "safety_identifier": "someone",
        "metadata": {"a": "b"},
        "service_tier": "flex",
        "store": True,
        "modalities": ["text", "audio"],
        "audio": {"voice": "a", "format": "wav"},
        "prediction": {"type": "content", "content": "Hi"},
        "prompt_cache_key": "a",
        "prompt_cache_retention": "24h",
        "web_search_options": {"search_context_size": "low"},
    }
)
TOOLS = (Tool("look", "Looks.", SCHEMA),)
# Parameters that mean nothing without another.
BESIDE: Mapping[str, Mapping[str, Any]] = MappingProxyType({"top_logprobs": {"logprobs": True}})


class Matrix:
    """The outcomes by provider and model; each is found once."""

    def __init__(self, providers: Mapping[str, Provider | DirectProvider]) -> None:
        self._providers: dict[str, Provider] = {
            name: each for name, each in providers.items() if not isinstance(each, DirectProvider)
        }
        self._found: dict[tuple[str, str], Mapping[str, ParameterOutcome]] = {}

    def outcomes(self, provider: str, model: str) -> Mapping[str, ParameterOutcome]:
        """Empty for an engine that encodes nothing; a provider that fails at it is logged."""
        asked = self._providers.get(provider)
        if asked is None:
            return {}
        if (provider, model) not in self._found:
            try:
                self._found[provider, model] = outcomes(asked, model)
            except Exception:
                log.exception("matrix.failed", extra={"provider": provider, "model": model})
                self._found[provider, model] = {}
        return self._found[provider, model]


def outcomes(provider: Provider, model: str) -> dict[str, ParameterOutcome]:
    found: dict[str, ParameterOutcome] = {}
    for name, value in SAMPLES.items():
        tools = TOOLS if name == "parallel_tool_calls" else None
        beside = BESIDE.get(name, {})
        without = _request(model, beside, tools)
        given = _request(model, {**beside, name: value}, tools)
        found[name] = _outcome(provider, name, without, given)
    plain, tooled = _request(model, {}), _request(model, {}, TOOLS)
    found["tools"] = _outcome(provider, "tools", plain, tooled)
    forced = _request(model, {}, TOOLS, ToolChoice("required"))
    found["tool_choice"] = _outcome(provider, "tool_choice", tooled, forced)
    return found


def _request(
    model: str,
    params: Mapping[str, Any],
    tools: tuple[Tool, ...] | None = None,
    choice: ToolChoice | None = None,
) -> ChatRequest:
    question = (Message("user", (TextPart("Hi"),)),)
    return ChatRequest(model, question, tools, choice, params)


def _outcome(
    provider: Provider, name: str, without: ChatRequest, given: ChatRequest
) -> ParameterOutcome:
    try:
        encoded = provider.encode(given)
    except ClientError:
        return "refused"
    return "mapped" if _differ(encoded, _encoded(provider, without), name) else "dropped"


def _differ(given: UpstreamRequest, without: UpstreamRequest | None, name: str) -> bool:
    if name in given.dropped:
        return False
    if without is None:
        return True
    return (given.url, given.body, given.headers) != (without.url, without.body, without.headers)


def _encoded(provider: Provider, request: ChatRequest) -> UpstreamRequest | None:
    try:
        return provider.encode(request)
    except ClientError:
        return None

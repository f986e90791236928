"""A canonical chat request as a Converse body, with an outcome for each parameter."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import llm_gateway_api as gw
import msgspec

from llm_gateway_provider_bedrock import additional, tools
from llm_gateway_provider_bedrock.additional import Outcome
from llm_gateway_provider_bedrock.blocks import Blocks
from llm_gateway_provider_bedrock.families import Family
from llm_gateway_provider_bedrock.turns import turns

# What `extra` may hold below ``bedrock``: members of the body that no dialect of a client has.
EXTENSION = "bedrock"
EXTENSIONS = frozenset(
    {
        "additionalModelRequestFields",
        "additionalModelResponseFieldPaths",
        "guardrailConfig",
        "performanceConfig",
        "promptVariables",
        "requestMetadata",
    }
)
TIERS = {"default": "default", "flex": "flex", "priority": "priority"}


class Written(msgspec.Struct, frozen=True):
    """A body, what was left out, and the tool whose input is the answer (if any)."""

    body: dict[str, Any]
    dropped: tuple[str, ...]
    answer: str | None


class Manners(msgspec.Struct, frozen=True):
    """What the settings say of every request."""

    guardrail: Mapping[str, Any] | None = None
    max_tokens: int | None = None
    metadata: bool = False


def converse(request: gw.ChatRequest, family: Family, manners: Manners) -> Written:
    """The body of `request` for a model of `family`.

    Raises:
        UnsupportedParameterError: something that would change the answer cannot be sent.
    """
    blocks, out = Blocks(family), Outcome()
    system, messages = turns(request.messages, blocks)
    parameters(request, family, out)
    if manners.max_tokens is not None:
        out.inference.setdefault("maxTokens", manners.max_tokens)
    tooling = tools.tooling(request, messages, blocks, out)
    form(request, family, tooling, blocks, out)
    additional.settle(family, out)
    if tooling.note:
        system.append({"text": tooling.note})
    body: dict[str, Any] = {"system": system} if system else {}
    body["messages"] = messages
    if out.inference:
        body["inferenceConfig"] = out.inference
    if tooling.config:
        body["toolConfig"] = tooling.config
    if out.output:
        body["outputConfig"] = out.output
    service(request, manners, body, out)
    extend(request, manners, body, out)
    dropped = (*out.dropped, *blocks.dropped)
    return Written(body, tuple(dict.fromkeys(dropped)) if dropped else (), tooling.answer)


def counting(body: Mapping[str, Any]) -> dict[str, Any]:
    """The same request for CountTokens, which takes what makes up the prompt."""
    kept = ("system", "messages", "toolConfig", "additionalModelRequestFields")
    return {"input": {"converse": {name: body[name] for name in kept if name in body}}}


def parameters(request: gw.ChatRequest, family: Family, out: Outcome) -> None:
    for name, value in request.params.items():
        if value is None or name in _ELSEWHERE:
            continue
        if (rule := _RULES.get(name)) is not None:
            rule(value, family, out)
        else:
            out.dropped.append(name)
    for name in ("reasoning_effort", "thinking"):  # they look at what the others wrote
        if (value := request.params.get(name)) is not None:
            _REASONING[name](family, value, out)


def number(value: object, name: str) -> int | float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise gw.UnsupportedParameterError(f"{name} is a number.", param=name)
    return value


def _temperature(value: object, family: Family, out: Outcome) -> None:
    if family.sampling == "none":
        out.dropped.append("temperature")
        return
    out.inference["temperature"] = min(max(number(value, "temperature"), 0), 1)
    if family.sampling == "one" and out.inference.pop("topP", None) is not None:
        out.dropped.append("top_p")


def _top_p(value: object, family: Family, out: Outcome) -> None:
    if family.sampling == "none" or (family.sampling == "one" and "temperature" in out.inference):
        out.dropped.append("top_p")
    else:
        out.inference["topP"] = min(max(number(value, "top_p"), 0), 1)


def _top_k(value: object, family: Family, out: Outcome) -> None:
    if family.top_k is None:
        out.dropped.append("top_k")
    else:
        additional.put(out.fields, family.top_k, number(value, "top_k"))


def _max_tokens(value: object, family: Family, out: Outcome) -> None:
    out.inference["maxTokens"] = number(value, "max_tokens")


def _stop(value: object, family: Family, out: Outcome) -> None:
    texts = [each for each in value if each.strip()] if isinstance(value, Sequence) else []
    if not isinstance(value, Sequence) or len(texts) < len(value):
        out.dropped.append("stop")  # a blank text never stops anything here
    if texts:
        out.inference["stopSequences"] = texts


def _only(name: str, *harmless: object) -> Callable[[object, Family, Outcome], None]:
    """Refuses `name` unless its value asks for nothing that the vendor lacks."""

    def rule(value: object, family: Family, out: Outcome) -> None:
        if not any(value == each and type(value) is type(each) for each in harmless):
            raise gw.UnsupportedParameterError(
                f"Bedrock has no {name} of this value; leave it out.", param=name
            )

    return rule


_RULES: Mapping[str, Callable[[object, Family, Outcome], None]] = {
    "temperature": _temperature,
    "top_p": _top_p,
    "top_k": _top_k,
    "max_tokens": _max_tokens,
    "stop": _stop,
    "n": _only("n", 1),
    "logprobs": _only("logprobs", False),
    "top_logprobs": _only("top_logprobs", 0),
    "modalities": _only("modalities", ["text"]),
    "audio": _only("audio"),
    "web_search_options": _only("web_search_options"),
}
_REASONING = {"reasoning_effort": additional.effort, "thinking": additional.thinking}
_ELSEWHERE = frozenset(
    {
        "reasoning_effort",
        "thinking",
        "parallel_tool_calls",
        "response_format",
        "service_tier",
        "metadata",
    }
)


def form(
    request: gw.ChatRequest, family: Family, tooling: tools.Tooling, blocks: Blocks, out: Outcome
) -> None:
    """Write ``response_format``: the vendor's own where the family has it, else a tool."""
    wanted = request.params.get("response_format")
    if wanted is None:
        return
    kind = wanted.get("type") if isinstance(wanted, Mapping) else None
    if kind in (None, "text"):
        return
    if kind == "json_object":
        if out.thinks or not tools.answer_tool({"type": "object"}, None, tooling, blocks):
            out.dropped.append("response_format")  # the prompt asks for JSON as well
        return
    given = wanted.get("json_schema") if isinstance(wanted, Mapping) else None
    schema = given.get("schema") if isinstance(given, Mapping) else None
    if kind != "json_schema" or not isinstance(given, Mapping) or not isinstance(schema, Mapping):
        raise gw.UnsupportedParameterError(
            "response_format is text, json_object, or json_schema with a schema.",
            param="response_format",
        )
    if family.structured:
        inner = {k: given[k] for k in ("name", "description") if given.get(k)}
        text = msgspec.json.encode(schema).decode()  # a string, not an object
        structure = {"jsonSchema": {**inner, "schema": text}}
        out.output["textFormat"] = {"type": "json_schema", "structure": structure}
    elif out.thinks or not tools.answer_tool(schema, given.get("description"), tooling, blocks):
        raise gw.UnsupportedParameterError(
            "The model chosen has no structured output beside tools or reasoning; "
            "leave one of them out or choose another model.",
            param="response_format",
        )


def service(request: gw.ChatRequest, manners: Manners, body: dict[str, Any], out: Outcome) -> None:
    tier = request.params.get("service_tier")
    if tier in TIERS:
        body["serviceTier"] = {"type": TIERS[str(tier)]}
    elif tier not in (None, "auto"):
        out.dropped.append("service_tier")
    metadata = request.params.get("metadata")
    if metadata and manners.metadata and isinstance(metadata, Mapping):
        body["requestMetadata"] = {str(key): str(value) for key, value in metadata.items()}
    elif metadata:
        out.dropped.append("metadata")
    if manners.guardrail is not None:
        body["guardrailConfig"] = dict(manners.guardrail)


def extend(request: gw.ChatRequest, manners: Manners, body: dict[str, Any], out: Outcome) -> None:
    """Take the extension of this vendor; note every other member that nobody knows."""
    if request.extra:
        _extend(request.extra, manners, body, out)
    if out.fields:
        body["additionalModelRequestFields"] = out.fields


def _extend(extra: gw.Params, manners: Manners, body: dict[str, Any], out: Outcome) -> None:
    out.dropped += [name for name in extra if name != EXTENSION]
    given = extra.get(EXTENSION, {})
    if not isinstance(given, Mapping):
        raise gw.UnsupportedParameterError("bedrock is an object.", param=EXTENSION)
    for name, value in given.items():
        if name not in EXTENSIONS or (name == "guardrailConfig" and manners.guardrail is not None):
            raise gw.UnsupportedParameterError(
                f"bedrock.{name} cannot be set here; leave it out.", param=f"{EXTENSION}.{name}"
            )
        if name == "additionalModelRequestFields" and isinstance(value, Mapping):
            out.fields |= value
        else:
            body[name] = value

"""A second try after the model refused earlier reasoning: the same call without any."""

import re
from typing import Any

import llm_gateway_api as gw
import msgspec

# Claude's words, which Bedrock passes inside a ValidationException.
REFUSED = re.compile(
    rb"(?i)signature[^.]{0,40}(?:thinking|reasoning)|(?:thinking|reasoning)[^.]{0,80}"
    rb"(?:signature|modified)"
)
CALLS = "additionalModelRequestFields"


def unreasoned(refused: gw.RefusedCall) -> gw.UpstreamRequest | None:
    """The call without its earlier reasoning; None where that was not at fault."""
    if refused.status != 400 or not REFUSED.search(refused.body):
        return None
    body = msgspec.json.decode(refused.request.body)
    turns = body.get("messages")
    if not isinstance(turns, list):
        return None
    kept = [each for turn in turns if (each := _without(turn))["content"]]
    if kept == turns:
        return None
    body["messages"] = kept
    _unforced(body)
    return msgspec.structs.replace(
        refused.request,
        body=msgspec.json.encode(body),
        dropped=(*refused.request.dropped, "reasoning"),
    )


def _without(turn: dict[str, Any]) -> dict[str, Any]:
    return {**turn, "content": [each for each in turn["content"] if "reasoningContent" not in each]}


def _unforced(body: dict[str, Any]) -> None:
    """A budget for reasoning demands the reasoning before the last call; so it goes too."""
    fields = body.get(CALLS, {})
    said = [turn for turn in body["messages"] if turn["role"] == "assistant"]
    called = bool(said) and any("toolUse" in each for each in said[-1]["content"])
    if called and fields.get("thinking", {}).get("type") == "enabled":
        del fields["thinking"]
        if not fields:
            del body[CALLS]

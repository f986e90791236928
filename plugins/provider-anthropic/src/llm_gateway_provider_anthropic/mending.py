"""A second try after the vendor refused a thought: the same call without any.

A signature is bound to the model, and from some models on to the account, that made it. The
relay lane passes it as it came, so it is the vendor who finds one of another model.
"""

import re
from typing import Any

import llm_gateway_api as gw
import msgspec

from llm_gateway_provider_anthropic.turns import replays_thought

REFUSED = re.compile(rb"(?i)signature[^.]{0,40}thinking|thinking[^.]{0,80}(?:signature|modified)")
THOUGHTS = frozenset({"thinking", "redacted_thinking"})


def unthought(refused: gw.RefusedCall) -> gw.UpstreamRequest | None:
    """The call without its earlier thoughts; None where they were not at fault."""
    if refused.status != 400 or not REFUSED.search(refused.body):
        return None
    body = msgspec.json.decode(refused.request.body)
    turns = body.get("messages")
    if not isinstance(turns, list):
        return None
    kept = [each for turn in turns if (each := _without(turn)) is not None]
    if kept == turns:
        return None
    body["messages"] = kept
    manual = isinstance(body.get("thinking"), dict) and body["thinking"].get("type") == "enabled"
    if manual and not replays_thought([each for each in kept if isinstance(each["content"], list)]):
        del body["thinking"]  # which would demand the thoughts before a call
    return msgspec.structs.replace(
        refused.request,
        body=msgspec.json.encode(body),
        dropped=(*refused.request.dropped, "reasoning"),
    )


def _without(turn: dict[str, Any]) -> dict[str, Any] | None:
    """`turn` without thoughts; None where nothing else was in it."""
    content = turn.get("content")
    if turn.get("role") != "assistant" or not isinstance(content, list):
        return turn
    kept = [each for each in content if each.get("type") not in THOUGHTS]
    return {**turn, "content": kept} if kept or not content else None

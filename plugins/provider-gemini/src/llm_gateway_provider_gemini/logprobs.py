"""``logprobsResult`` in the shape that clients of OpenAI's dialect read."""

from collections.abc import Mapping
from typing import Any

import llm_gateway_api as gw


def attach(events: list[gw.Event], index: int, logprobs: object) -> None:
    """Put `logprobs` on the chunk's last text, or on an empty one."""
    for at in range(len(events) - 1, -1, -1):
        each = events[at]
        if isinstance(each, gw.TextDelta) and each.index == index:
            events[at] = gw.TextDelta(each.text, index, logprobs)
            return
    events.append(gw.TextDelta("", index, logprobs))


def tokens(found: Mapping[str, Any]) -> dict[str, Any]:
    """The chosen tokens, with what else could have stood there."""
    chosen, others = objects(found.get("chosenCandidates")), objects(found.get("topCandidates"))
    rows = []
    for at, each in enumerate(chosen):
        top = objects(others[at].get("candidates")) if at < len(others) else []
        rows.append({**token(each), "top_logprobs": [token(other) for other in top]})
    return {"content": rows, "refusal": None}


def token(found: Mapping[str, Any]) -> dict[str, Any]:
    text, value = str(found.get("token") or ""), found.get("logProbability")
    number = float(value) if isinstance(value, (int, float)) else 0.0
    return {"token": text, "logprob": number, "bytes": list(text.encode())}


def objects(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []

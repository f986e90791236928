"""A second try after the vendor refused a signature: the same call without any.

Signatures are bound to the model and the platform that made them. The vendor's own word for
"made elsewhere" stands in before the first call of each turn, where one is demanded.
"""

from typing import Any

import llm_gateway_api as gw
import msgspec

from llm_gateway_provider_gemini.errors import SIGNATURE
from llm_gateway_provider_gemini.signatures import SENTINEL

MEMBER = "thoughtSignature"


def unsigned(refused: gw.RefusedCall) -> gw.UpstreamRequest | None:
    """The call without its signatures; None where they were not at fault."""
    if refused.status != 400 or not SIGNATURE.search(refused.body.decode(errors="replace")):
        return None
    body = msgspec.json.decode(refused.request.body)
    counted = body.get("generateContentRequest", body)
    changed = [_stripped(turn) for turn in counted.get("contents", ())]
    if not any(changed):
        return None
    return msgspec.structs.replace(
        refused.request,
        body=msgspec.json.encode(body),
        dropped=(*refused.request.dropped, "reasoning"),
    )


def _stripped(turn: dict[str, Any]) -> bool:
    """Whether anything changed in `turn`."""
    before = [part.pop(MEMBER, None) for part in turn["parts"]]
    calls = [part for part in turn["parts"] if "functionCall" in part]
    if calls and "id" in calls[0]["functionCall"]:  # older models have no ids, and sign nothing
        calls[0][MEMBER] = SENTINEL
    return before != [part.get(MEMBER) for part in turn["parts"]]

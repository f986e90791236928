"""A second try after the vendor refused encrypted reasoning: the same call without it.

An item is bound to the organisation, on other clouds to the resource, that made it. The relay
lane passes it as it came, so it is the vendor who finds one made elsewhere.
"""

import llm_gateway_api as gw
import msgspec

CODE = b"invalid_encrypted_content"


def undisclosed(refused: gw.RefusedCall) -> gw.UpstreamRequest | None:
    """The call without earlier reasoning; None where that was not at fault."""
    if refused.status != 400 or CODE not in refused.body:
        return None
    body = msgspec.json.decode(refused.request.body)
    items = body.get("input")
    if not isinstance(items, list):
        return None
    kept = [
        each for each in items if not (isinstance(each, dict) and each.get("type") == "reasoning")
    ]
    if len(kept) == len(items):
        return None
    return msgspec.structs.replace(
        refused.request,
        body=msgspec.json.encode({**body, "input": kept}),
        dropped=(*refused.request.dropped, "reasoning"),
    )

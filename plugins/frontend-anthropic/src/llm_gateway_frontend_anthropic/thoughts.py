"""Opaque state of thoughts in and out of the one place that clients replay: a signature.

State is packed, with the deployment that made it, so that it comes back in the next turn and
goes to that one alone. What names no maker and this vendor signed stands there as it is.
"""

from collections.abc import Mapping
from typing import Any

from llm_gateway_api.opaque import MADE_BY, pack_state, unpack_state

DIALECT = "anthropic.messages"


def packed(state: Mapping[str, Any]) -> str:
    """The signature of `state`; of none too, for a client may send it where it is read."""
    own = state.get(DIALECT)
    if isinstance(own, dict) and "signature" in own and MADE_BY not in state:
        return str(own["signature"])
    return pack_state(state)


def redacted(state: Mapping[str, Any]) -> str | None:
    """The data of a thought that the vendor keeps to itself, if `state` is of one."""
    own = state.get(DIALECT)
    if not isinstance(own, dict) or "redacted" not in own:
        return None
    return pack_state(state) if MADE_BY in state else str(own["redacted"])


def unpacked(opaque: str, member: str = "signature") -> dict[str, Any]:
    """The inverse of `packed` and `redacted`, whose `member` it is; what was tampered with is
    no state."""
    found = unpack_state(opaque)
    if found is not None:
        return found
    return {DIALECT: {member: opaque}} if opaque else {}

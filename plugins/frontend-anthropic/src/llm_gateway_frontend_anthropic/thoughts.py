"""Opaque state of thoughts in and out of the one place that clients replay: a signature.

What this vendor signed stands there as it is. State of any other vendor is packed, so that
it comes back in the next turn and is known for a stranger's.
"""

from collections.abc import Mapping
from typing import Any

from llm_gateway_api.opaque import pack_state, unpack_state

DIALECT = "anthropic.messages"


def packed(state: Mapping[str, Any]) -> str:
    """The signature of `state`; of none too, for a client may send it where it is read."""
    own = state.get(DIALECT)
    if isinstance(own, dict) and "signature" in own:
        return str(own["signature"])
    return pack_state(state)


def redacted(state: Mapping[str, Any]) -> str | None:
    """The data of a thought that the vendor keeps to itself, if `state` is of one."""
    own = state.get(DIALECT)
    return own.get("redacted") if isinstance(own, dict) else None


def unpacked(signature: str) -> dict[str, Any]:
    """The inverse of `packed`; what was tampered with is no state."""
    found = unpack_state(signature)
    if found is not None:
        return found
    return {DIALECT: {"signature": signature}} if signature else {}

"""Opaque state of thoughts in and out of the one place that clients replay: a signature.

What this vendor signed stands there as it is. State of any other vendor is packed, so that
it comes back in the next turn and is known for a stranger's: ``gw1.`` and base64url of JSON.
"""

import base64
from collections.abc import Mapping
from typing import Any

import msgspec

DIALECT = "anthropic.messages"
MARK = "gw1."


def packed(state: Mapping[str, Any]) -> str:
    """The signature of `state`; of none too, for a client may send it where it is read."""
    own = state.get(DIALECT)
    if isinstance(own, dict) and "signature" in own:
        return str(own["signature"])
    raw = msgspec.json.encode(state, order="sorted")
    return MARK + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def redacted(state: Mapping[str, Any]) -> str | None:
    """The data of a thought that the vendor keeps to itself, if `state` is of one."""
    own = state.get(DIALECT)
    return own.get("redacted") if isinstance(own, dict) else None


def unpacked(signature: str) -> dict[str, Any]:
    """The inverse of `packed`; what was tampered with is no state."""
    if not signature.startswith(MARK):
        return {DIALECT: {"signature": signature}} if signature else {}
    text = signature.removeprefix(MARK)
    try:
        found = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}

"""Opaque state in one string, for dialects whose clients replay a text that they cannot read.

``gw1.`` and base64url of JSON: another vendor's signature or encrypted content never begins
so, and what comes back is known for the gateway's own.
"""

import base64
from collections.abc import Mapping
from typing import Any

import msgspec

MARK = "gw1."


def pack_state(state: Mapping[str, Any]) -> str:
    """`state` as one string; equal states are equal strings."""
    raw = msgspec.json.encode(state, order="sorted")
    return MARK + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unpack_state(packed: str) -> dict[str, Any] | None:
    """The inverse of `pack_state`: None for a string of somebody else, no state for one that
    was tampered with."""
    if not packed.startswith(MARK):
        return None
    text = packed.removeprefix(MARK)
    try:
        found = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}

"""Opaque state of reasoning: who made it, and how it travels as one string.

A signature or encrypted content is read by the model (and often the account) that made it and
refused by others, so the kernel writes the deployment's name into every state, beside what the
provider put there. For dialects whose clients replay a text that they cannot read it is packed:
``gw1.`` and base64url of JSON. Another vendor's signature or encrypted content never begins
so, and what comes back is known for the gateway's own.
"""

import base64
from collections.abc import Mapping
from typing import Any

import msgspec

MARK = "gw1."
MADE_BY = "made_by"  # the member of a state that names its deployment, as provider/model


def made_elsewhere(state: Mapping[str, Any], deployment: str) -> bool:
    """Whether `state` names another deployment than `deployment` for its maker. One that names
    nobody passed as the vendor's own bytes, and the vendor judges it."""
    return bool(state.get(MADE_BY, deployment) != deployment)


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

"""Thought signatures: the opaque state that comes with an answer and must go back with it.

From generation 3 on, a call that comes back without its signature is refused. A signature
travels beside the call (``extra_content``, the vendor's own shape for OpenAI's dialect) or,
for dialects whose clients echo an id and nothing else, inside the call's id. Where a client
kept neither, or the deployment that made it is another one, the vendor's documented word for
"made elsewhere" stands in.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any

from llm_gateway_api.opaque import MADE_BY, made_elsewhere

MARK = "__thought__"
BY = "__by__"
SENTINEL = base64.b64encode(b"skip_thought_signature_validator").decode()


def minted(*parts: str) -> str:
    """An id for a call that the vendor gave none, the same for the same answer."""
    return "call_" + hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def packed(call_id: str, signature: str | None, maker: str) -> str:
    """`call_id` with `signature` and its maker inside, in the alphabet that every dialect takes."""
    if not signature:
        return call_id
    safe = signature.replace("+", "-").replace("/", "_").rstrip("=")
    return f"{call_id}{MARK}{safe}{BY}{_short(maker)}"


def plain(call_id: str) -> str:
    """The id without what is packed in it."""
    return call_id.partition(MARK)[0]


BESIDE = ("extra_content", "provider_specific_fields")  # where clients keep one


def inside(call_id: str, maker: str) -> str | None:
    """The signature in an id, if `maker` made it (or nobody says who did)."""
    packed, by, made = call_id.partition(MARK)[2].partition(BY)
    if not packed or (by and made != _short(maker)):
        return None
    standard = packed.replace("-", "+").replace("_", "/").rstrip("=")
    standard += "=" * (-len(standard) % 4)
    return standard if _is_base64(standard) else None


def beside(extra: Mapping[str, Any], maker: str) -> str | None:
    """The signature that a client sent beside a call or a message, if `maker` made it (or
    nobody says who did)."""
    if elsewhere(extra, maker):
        return None
    found = _object(_object(extra.get("extra_content")).get("google")).get("thought_signature")
    if found is None:
        found = _object(extra.get("provider_specific_fields")).get("thought_signature")
    return found if isinstance(found, str) and _is_base64(found) else None


def elsewhere(extra: Mapping[str, Any], maker: str) -> bool:
    """Whether what stands beside a call or a message names another maker than `maker`."""
    return made_elsewhere(_object(_object(extra.get("extra_content")).get("gateway")), maker)


def shown(signature: str, maker: str) -> dict[str, Any]:
    """The members that carry `signature` beside a call or a message."""
    google, gateway = {"thought_signature": signature}, {MADE_BY: maker}
    return {"extra_content": {"google": google, "gateway": gateway}}


def _short(maker: str) -> str:
    return hashlib.sha256(maker.encode()).hexdigest()[:10]


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_base64(text: str) -> bool:
    try:
        return bool(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return False

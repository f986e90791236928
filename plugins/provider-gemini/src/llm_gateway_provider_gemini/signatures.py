"""Thought signatures: the opaque state that comes with an answer and must go back with it.

From generation 3 on, a call that comes back without its signature is refused. A signature
travels beside the call (``extra_content``, the vendor's own shape for OpenAI's dialect) or,
for dialects whose clients echo an id and nothing else, inside the call's id. Where a client
kept neither, the vendor's documented word for "made elsewhere" stands in.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any

MARK = "__thought__"
SENTINEL = base64.b64encode(b"skip_thought_signature_validator").decode()


def minted(*parts: str) -> str:
    """An id for a call that the vendor gave none, the same for the same answer."""
    return "call_" + hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def packed(call_id: str, signature: str | None) -> str:
    """`call_id` with `signature` inside, in the alphabet that every dialect takes."""
    if not signature:
        return call_id
    safe = signature.replace("+", "-").replace("/", "_").rstrip("=")
    return f"{call_id}{MARK}{safe}"


def unpacked(call_id: str) -> tuple[str, str | None]:
    """The id, and the signature inside it."""
    plain, mark, packed = call_id.partition(MARK)
    if not mark:
        return call_id, None
    standard = packed.replace("-", "+").replace("_", "/").rstrip("=")
    standard += "=" * (-len(standard) % 4)
    return plain, standard if _is_base64(standard) else None


def beside(extra: Mapping[str, Any]) -> str | None:
    """The signature that a client sent beside a call or a message."""
    google = _object(_object(extra.get("extra_content")).get("google"))
    found = google.get("thought_signature")
    if found is None:
        found = _object(extra.get("provider_specific_fields")).get("thought_signature")
    return found if isinstance(found, str) and _is_base64(found) else None


def shown(signature: str) -> dict[str, Any]:
    """The members that carry `signature` beside a call or a message."""
    return {"extra_content": {"google": {"thought_signature": signature}}}


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_base64(text: str) -> bool:
    try:
        return bool(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return False

"""What of a body has no place in the canonical form: told, since it is in no provider's hands.

Most members that nobody knows are kept in an `extra`; here are those of blocks that become
words.
"""

from collections.abc import Iterator, Mapping
from typing import Any

_WORDS = frozenset({"type", "title", "source", "cache_control"})
_KNOWN = {"search_result": _WORDS | {"content"}}
_OFF = (None, {"enabled": False})  # asks for nothing


def lost(members: Mapping[str, Any]) -> tuple[str, ...]:
    """Each name once, as ``messages.NAME``; `members` have been decoded without a fault."""
    found: dict[str, None] = {}
    for message in members.get("messages") or ():
        if isinstance(content := message.get("content"), list):
            found |= dict.fromkeys(f"messages.{name}" for name in _of(content))
    return tuple(found)


def _of(blocks: list[Any]) -> Iterator[str]:
    for block in blocks:
        kind = block["type"]
        known = _KNOWN.get(kind)
        if kind == "document":
            known = _of_document(block["source"])
        elif kind == "tool_result" and isinstance(block.get("content"), list):
            yield from _of(block["content"])
        if known is not None:
            yield from (n for n, value in block.items() if n not in known and value not in _OFF)


def _of_document(source: Mapping[str, Any]) -> frozenset[str] | None:
    """None for one that stays a document, with all that it has beside."""
    if source.get("type") == "content":
        return _WORDS - {"cache_control"}
    return _WORDS if source.get("type") == "text" else None

"""What a request must look like, and how much of it there may be. Decodes no more than it asks.

The members that hold what a model reads are the same in all dialects that have them: turns in
``messages`` or ``input``, text in ``prompt``, ``system``, ``instructions``, ``query``,
``documents``.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import llm_gateway_api as gw
import msgspec

ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
TURNS = ("messages", "input")
TEXTS = ("prompt", "system", "instructions", "query", "documents")
# Members that hold media, names or opaque state, and no text for a model to read.
_NO_TEXT = frozenset(
    {
        "cache_control",
        "data",
        "encrypted_content",
        "file_data",
        "id",
        "image_url",
        "media_type",
        "role",
        "signature",
        "type",
        "url",
    }
)


class _Turn(msgspec.Struct):
    """Of a turn, only this is decoded."""

    role: Any = None
    content: msgspec.Raw = msgspec.Raw(b"null")


_turn = msgspec.json.Decoder(_Turn)
_turns = msgspec.json.Decoder(list[_Turn])
_items = msgspec.json.Decoder(list[msgspec.Raw])


class ShapeError(Exception):
    """`param` is at fault; the text is for the client."""

    def __init__(self, param: str, expected: str, code: str = "invalid_body") -> None:
        super().__init__(f"{param!r} {expected}")
        self.param, self.code = param, code


def check(head: gw.RequestHead, messages: int | None, length: int | None) -> None:
    """Raises `ShapeError` where `head` is not of the shape, or over a limit that is no None."""
    chat = head.operation in ("chat", "count_tokens")
    for name in TURNS:
        raw = head.fields.get(name)
        if raw is None or (chat and _fine(raw, messages, length)):
            continue
        items = _listed(raw)
        if items is None:
            if name == "messages":
                raise ShapeError(name, "must be an array.")
            _long(raw, name, length)
            continue
        if chat and messages is not None and len(items) > messages:
            raise ShapeError(
                name,
                f"has {len(items)} messages, more than {messages} "
                "(security.validation.max_messages).",
                "too_many_messages",
            )
        for at, each in enumerate(items):
            path = f"{name}[{at}]"
            if chat:
                _turned(each, path, name == "messages")
            _long(each, path, length)
    if length is not None:
        for name, raw in _texts(head.fields):
            _long(raw, name, length)


def _fine(raw: msgspec.Raw, messages: int | None, length: int | None) -> bool:
    """Whether one look settles that all is well: nearly always. Else it is told what is not."""
    if length is not None and len(memoryview(raw)) > length:
        return False
    try:
        turns = _turns.decode(raw)
    except msgspec.DecodeError:
        return False
    return (messages is None or len(turns) <= messages) and all(
        isinstance(turn.role, str) and turn.role in ROLES and _is_content(turn.content)
        for turn in turns
    )


def _is_content(raw: msgspec.Raw) -> bool:
    return bytes(memoryview(raw)[:64]).lstrip()[:1] in (b'"', b"[", b"n")


def _texts(fields: Mapping[str, msgspec.Raw]) -> Iterator[tuple[str, msgspec.Raw]]:
    """Each text apart, where a member is a list of them."""
    for name in TEXTS:
        raw = fields.get(name)
        if raw is None:
            continue
        items = _listed(raw) if name in ("prompt", "documents") else None
        if items is None:
            yield name, raw
        else:
            yield from ((f"{name}[{at}]", each) for at, each in enumerate(items))


def _listed(raw: msgspec.Raw) -> list[msgspec.Raw] | None:
    if bytes(memoryview(raw)[:64]).lstrip()[:1] != b"[":
        return None
    return _items.decode(raw)


def _turned(raw: msgspec.Raw, path: str, demanded: bool) -> None:
    """A turn is an object with a known role; in ``input``, items without a role are others."""
    try:
        turn = _turn.decode(raw)
    except msgspec.ValidationError as error:
        if not demanded and bytes(memoryview(raw)[:64]).lstrip()[:1] == b'"':
            return  # a text among the items
        raise ShapeError(path, "must be an object.") from error
    if turn.role is None and not demanded:
        return
    if not isinstance(turn.role, str) or turn.role not in ROLES:
        raise ShapeError(f"{path}.role", f"must be one of {', '.join(sorted(ROLES))}.")
    if not _is_content(turn.content):
        raise ShapeError(f"{path}.content", "must be a string, an array or null.")


def _long(raw: msgspec.Raw, path: str, limit: int | None) -> None:
    """Characters never outnumber bytes, so that only what is long in bytes is decoded."""
    if limit is None or len(memoryview(raw)) <= limit:
        return
    found = _characters(msgspec.json.decode(raw))
    if found > limit:
        raise ShapeError(
            path,
            f"holds {found} characters of text, more than {limit} "
            "(security.validation.max_message_length).",
            "message_too_long",
        )


def _characters(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list):
        return sum(map(_characters, value))
    if isinstance(value, dict):
        return sum(_characters(each) for name, each in value.items() if name not in _NO_TEXT)
    return 0

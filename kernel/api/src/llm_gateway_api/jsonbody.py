"""Reading a JSON body once, at its top level, without decoding its big members."""

import re
from collections.abc import Mapping

import msgspec

from llm_gateway_api.errors import MalformedBodyError

_DECODER = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODER = msgspec.json.Encoder()
_KEY = re.compile(rb'[\s,]*("(?:[^"\\]|\\.)*")\s*:\s*')

encode = _ENCODER.encode
_decode = msgspec.json.Decoder(str).decode


def top_level(body: bytes) -> dict[str, msgspec.Raw]:
    """Return the members of the object `body`, each undecoded.

    Raises:
        MalformedBodyError: `body` is no JSON object, is not UTF-8, nests too deeply, or has
            a member twice (two readers could take different ones).
    """
    if not body:
        raise MalformedBodyError("The body is empty; send a JSON object.")
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            raise MalformedBodyError(
                f"The body is not valid UTF-8 (byte {error.start})."
            ) from error
    try:
        members = _DECODER.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        reason = "it nests too deeply" if isinstance(error, RecursionError) else str(error)
        raise MalformedBodyError(f"The body is not a JSON object: {reason}.") from error
    # Mostly it is written without spaces, or as Python writes it; then it holds no more than this.
    if len(_ENCODER.encode(members)) != len(body) and _spaced(members) != body:
        _refuse_duplicates(body, members)
    return members


def _spaced(members: Mapping[str, msgspec.Raw]) -> bytes:
    """`members` as they are written with a space behind each comma and colon."""
    pairs = [b"%b: %b" % (_ENCODER.encode(key), raw) for key, raw in members.items()]
    return b"{%b}" % b", ".join(pairs)


def _refuse_duplicates(body: bytes, members: Mapping[str, msgspec.Raw]) -> None:
    """Walk the top level by jumping over each member; what does not fit stands twice."""
    position = body.index(b"{") + 1
    seen: set[str] = set()
    while match := _KEY.match(body, position):
        key = _decode(match[1])
        raw = bytes(members[key])
        if key in seen or not body.startswith(raw, match.end()):
            raise MalformedBodyError(f"The member {key!r} stands twice.", param=key)
        seen.add(key)
        position = match.end() + len(raw)


def replaced(members: Mapping[str, msgspec.Raw], **changes: object) -> bytes:
    """Encode `members` again with some replaced or added; the others byte for byte."""
    merged: dict[str, object] = dict(members)
    merged.update(changes)
    return _ENCODER.encode(merged)

"""How deep the JSON of a body nests, told by a few searches for all but the strangest ones."""

import re

from llm_gateway_api import MalformedBodyError

ROUNDS = 8
_TOKENS = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[{]|[\]}]', re.DOTALL)
_NO_MARKS = bytes(set(range(256)) - set(b'"[]{}'))


def refuse_deep(body: bytes, limit: int) -> None:
    """Raises `MalformedBodyError` where JSON nests deeper than `limit`.

    Most bodies have fewer brackets than that, in texts too; of the others most have fewer once
    the texts and what holds nothing else are left out. Only the rest is walked.
    """
    if _openers(body) <= limit or _bound(body, limit) <= limit:
        return
    depth = 0
    for match in _TOKENS.finditer(body):
        token = body[match.start()]
        if token in b"[{":
            depth += 1
            if depth > limit:
                raise MalformedBodyError(
                    f"The body nests deeper than {limit} levels (server.max_json_depth)."
                )
        elif token in b"]}":
            depth -= 1


def _openers(data: bytes) -> int:
    """Brackets that open; `count` looks at each byte by itself, `replace` searches for them."""
    return 2 * len(data) - len(data.replace(b"{", b"")) - len(data.replace(b"[", b""))


def _bound(body: bytes, limit: int) -> int:
    """As many levels as valid JSON can have at most; how low that is depends on `limit`."""
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Neighbours part texts between which nothing opens, or hold a text in which nothing does.
    marks = body.translate(None, _NO_MARKS).replace(b'""', b"")
    left = b"".join(marks.split(b'"')[::2])
    bound = _openers(left)
    for taken in range(2, 2 * ROUNDS + 1, 2):
        if bound <= limit:
            break
        left = left.replace(b"{}", b"").replace(b"[]", b"")  # a level each, at most
        bound = taken + _openers(left)
    return bound

"""A guess at the tokens of a request and its answer, where no vendor says how many they were.

Rather too much than too little: a client that plans by it must not run over. Vendors'
tokenizers differ by a third, so the factors are those of the tightest common text. Text is
measured in UTF-8: a letter of a script without an alphabet is three bytes, and about a token.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
from llm_gateway_api import (
    AudioPart,
    CanonicalRequest,
    ChatRequest,
    Event,
    FilePart,
    GatewayError,
    ImagePart,
    Part,
    ReasoningDelta,
    ReasoningPart,
    RefusalDelta,
    RefusalPart,
    SupportsSaid,
    TextDelta,
    TextPart,
    ToolCallDelta,
    ToolCallPart,
    ToolResultPart,
    Usage,
    last_end,
)

if TYPE_CHECKING:
    from llm_gateway.pipeline import Call

TEXT_BYTES_PER_TOKEN = 3.5
MESSAGE_TOKENS = 8
IMAGE_TOKENS = 1600
# Of a document or a sound only the size is known: base64 of some 60 kB a page or minute.
BYTES_PER_TOKEN = 24
FRAME_BYTES = 150  # of a stream of which nothing else is known; most frames are one token


def estimate(request: CanonicalRequest) -> int:
    """Input tokens of `request`."""
    if not isinstance(request, ChatRequest):
        return math.ceil(len(msgspec.json.encode(request)) / TEXT_BYTES_PER_TOKEN)
    tokens = sum(_part(part) for message in request.messages for part in message.parts)
    tools = len(msgspec.json.encode(request.tools)) if request.tools else 0
    fixed = MESSAGE_TOKENS * len(request.messages)
    return math.ceil(tokens + tools / TEXT_BYTES_PER_TOKEN) + fixed


def text_tokens(text: str) -> int:
    """Tokens of an answer that its vendor did not count."""
    return math.ceil(_size(text) / TEXT_BYTES_PER_TOKEN)


def _part(part: Part) -> float:
    if isinstance(part, TextPart | RefusalPart | ReasoningPart):
        return _size(part.text) / TEXT_BYTES_PER_TOKEN
    if isinstance(part, ToolCallPart):
        return _size(part.name + part.arguments) / TEXT_BYTES_PER_TOKEN
    if isinstance(part, ToolResultPart):
        return sum(_part(each) for each in part.parts)
    if isinstance(part, ImagePart):
        return IMAGE_TOKENS
    if isinstance(part, FilePart | AudioPart):
        return max(IMAGE_TOKENS, len(part.data or "") / BYTES_PER_TOKEN)
    return len(msgspec.json.encode(part.raw)) / TEXT_BYTES_PER_TOKEN


def usage(request: CanonicalRequest, events: Sequence[Event]) -> Usage:
    """What a request and the answer to it came to, of which its vendor said nothing."""
    return Usage(input=estimate(request), output=math.ceil(said(events)), estimated=True)


def asked(call: "Call") -> int:
    """Input tokens of what `call` asked."""
    try:
        return estimate(call.canonical())
    except GatewayError:  # what the vendor took and the gateway cannot read
        return math.ceil(len(call.head.body) / TEXT_BYTES_PER_TOKEN)


def passed(size: int, sample: bytes, lane: object) -> float:
    """Tokens of `size` bytes of a stream that passed unread, `sample` being the first of them."""
    if not sample or not isinstance(lane, SupportsSaid):
        return size / FRAME_BYTES
    text: float = lane.said(sample)
    if size > len(sample):
        # What follows is like the later half: a stream begins with much that is no text.
        start = max(0, sample.find(b"\n\n", len(sample) // 2))
        later = sample[start : last_end(sample) or None] or sample
        text += lane.said(later) / len(later) * (size - len(sample))
    return text / TEXT_BYTES_PER_TOKEN


def said(events: Sequence[Event]) -> float:
    """Output tokens of `events`."""
    length = 0
    for event in events:
        if isinstance(event, TextDelta | ReasoningDelta | RefusalDelta):
            length += _size(event.text)
        elif isinstance(event, ToolCallDelta):
            length += _size(event.name or "") + _size(event.arguments)
    return length / TEXT_BYTES_PER_TOKEN


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))

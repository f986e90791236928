"""A guess at the tokens of a request and its answer, for providers that cannot count.

Rather too much than too little: a client that plans by it must not run over. Vendors'
tokenizers differ by a third, so the factors are those of the tightest common text.
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
    TextDelta,
    TextPart,
    ToolCallDelta,
    ToolCallPart,
    ToolResultPart,
    Usage,
)

if TYPE_CHECKING:
    from llm_gateway.pipeline import Call

CHARS_PER_TOKEN = 3.5
MESSAGE_TOKENS = 8
IMAGE_TOKENS = 1600
# Of a document or a sound only the size is known: base64 of some 60 kB a page or minute.
BYTES_PER_TOKEN = 24
FRAME_BYTES = 150  # of a relayed stream; most of its frames are one token


def estimate(request: CanonicalRequest) -> int:
    """Input tokens of `request`."""
    if not isinstance(request, ChatRequest):
        return math.ceil(len(msgspec.json.encode(request)) / CHARS_PER_TOKEN)
    tokens = sum(_part(part) for message in request.messages for part in message.parts)
    tools = len(msgspec.json.encode(request.tools)) if request.tools else 0
    fixed = MESSAGE_TOKENS * len(request.messages)
    return math.ceil(tokens + tools / CHARS_PER_TOKEN) + fixed


def text_tokens(text: str) -> int:
    """Tokens of an answer that its vendor did not count."""
    return math.ceil(len(text) / CHARS_PER_TOKEN)


def _part(part: Part) -> float:
    if isinstance(part, TextPart | RefusalPart | ReasoningPart):
        return len(part.text) / CHARS_PER_TOKEN
    if isinstance(part, ToolCallPart):
        return (len(part.name) + len(part.arguments)) / CHARS_PER_TOKEN
    if isinstance(part, ToolResultPart):
        return sum(_part(each) for each in part.parts)
    if isinstance(part, ImagePart):
        return IMAGE_TOKENS
    if isinstance(part, FilePart | AudioPart):
        return max(IMAGE_TOKENS, len(part.data or "") / BYTES_PER_TOKEN)
    return len(msgspec.json.encode(part.raw)) / CHARS_PER_TOKEN


def usage(request: CanonicalRequest, events: Sequence[Event]) -> Usage:
    """What a request and the answer to it came to, of which its vendor said nothing."""
    return Usage(input=estimate(request), output=math.ceil(_said(events)), estimated=True)


def relayed(call: "Call", size: int) -> Usage:
    """The same for an answer of `size` bytes that passed unread."""
    try:
        asked = estimate(call.canonical())
    except GatewayError:  # what the vendor took and the gateway cannot read
        asked = math.ceil(len(call.head.body) / CHARS_PER_TOKEN)
    each = FRAME_BYTES if call.head.stream else CHARS_PER_TOKEN
    return Usage(input=asked, output=math.ceil(size / each), estimated=True)


def _said(events: Sequence[Event]) -> float:
    length = 0
    for event in events:
        if isinstance(event, TextDelta | ReasoningDelta | RefusalDelta):
            length += len(event.text)
        elif isinstance(event, ToolCallDelta):
            length += len(event.name or "") + len(event.arguments)
    return length / CHARS_PER_TOKEN

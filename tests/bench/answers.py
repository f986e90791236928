"""What the mock provider says, by the path that it is asked at: a vendor's wire format each."""

import json
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

USAGE = {"prompt_tokens": 300, "completion_tokens": 50, "total_tokens": 350}
IDENTITY = {"id": "chatcmpl-bench0000000000000000", "created": 1795000000, "model": "gpt-bench"}


@dataclass(frozen=True)
class Answer:
    """One vendor's answer as a whole, and as the events of a stream of the same content."""

    whole: bytes
    events: tuple[bytes, ...]
    usage_event: bytes = b""  # only where the request says include_usage
    last: bytes = b""
    kind: bytes = b"text/event-stream; charset=utf-8"
    streams: bool = False  # by its path, whatever the body says


def packed(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def sse(value: object) -> bytes:
    return b"data: " + packed(value) + b"\n\n"


def _openai() -> Answer:
    def chunk(delta: dict[str, object], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        extra = {"service_tier": "default", "system_fingerprint": "fp_bench"}
        kind = {"object": "chat.completion.chunk"}
        return sse({**IDENTITY, **kind, **extra, "choices": [choice]})

    message = {"role": "assistant", "content": "word " * 230, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return Answer(
        packed({**IDENTITY, "object": "chat.completion", "choices": [choice], "usage": USAGE}),
        (
            chunk({"role": "assistant", "content": "", "refusal": None}),
            *(chunk({"content": f" word{number}"}) for number in range(48)),
            chunk({}, "stop"),
        ),
        sse({**IDENTITY, "object": "chat.completion.chunk", "choices": [], "usage": USAGE}),
        b"data: [DONE]\n\n",
    )


def _anthropic() -> Answer:
    def event(kind: str, **members: object) -> bytes:
        return b"event: " + kind.encode() + b"\n" + sse({"type": kind, **members})

    def message(content: list[object], reason: str | None, made: int) -> dict[str, object]:
        about = {"id": "msg_bench", "type": "message", "role": "assistant", "model": "claude-bench"}
        usage = {"input_tokens": 300, "output_tokens": made}
        return {
            **about,
            "content": content,
            "stop_reason": reason,
            "stop_sequence": None,
            "usage": usage,
        }

    def delta(number: int) -> bytes:
        text = {"type": "text_delta", "text": f" word{number}"}
        return event("content_block_delta", index=0, delta=text)

    ended = {"stop_reason": "end_turn", "stop_sequence": None}
    return Answer(
        packed(message([{"type": "text", "text": "word " * 230}], "end_turn", 50)),
        (
            event("message_start", message=message([], None, 1)),
            event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
            *map(delta, range(45)),
            event("content_block_stop", index=0),
            event("message_delta", delta=ended, usage={"output_tokens": 50}),
            event("message_stop"),
        ),
    )


def _gemini(streams: bool) -> Answer:
    def piece(text: str, made: int, **members: object) -> dict[str, object]:
        content = {"role": "model", "parts": [{"text": text}]}
        usage = {
            "promptTokenCount": 300,
            "candidatesTokenCount": made,
            "totalTokenCount": 300 + made,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 300}],
        }
        return {
            "candidates": [{"content": content, "index": 0, **members}],
            "usageMetadata": usage,
            "modelVersion": "gemini-bench",
            "responseId": "bench",
        }

    return Answer(
        packed(piece("word " * 230, 50, finishReason="STOP")),
        (
            *(sse(piece(f" word{number}", number + 1)) for number in range(49)),
            sse(piece(" end", 50, finishReason="STOP")),
        ),
        streams=streams,
    )


def frame(kind: str, payload: object) -> bytes:
    """A message of ``application/vnd.amazon.eventstream``."""
    heads = {
        ":event-type": kind,
        ":content-type": "application/json",
        ":message-type": "event",
    }
    headers = b"".join(
        bytes([len(name)])
        + name.encode()
        + b"\x07"
        + struct.pack(">H", len(value))
        + value.encode()
        for name, value in heads.items()
    )
    body = packed(payload)
    prelude = struct.pack(">II", 16 + len(headers) + len(body), len(headers))
    data = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + body
    return data + struct.pack(">I", zlib.crc32(data))


def _bedrock(streams: bool) -> Answer:
    usage = {"inputTokens": 300, "outputTokens": 50, "totalTokens": 350}
    message = {"role": "assistant", "content": [{"text": "word " * 230}]}
    metrics = {"latencyMs": 9}
    said: Iterable[object] = (
        {"contentBlockIndex": 0, "delta": {"text": f" word{number}"}} for number in range(46)
    )
    return Answer(
        packed(
            {
                "output": {"message": message},
                "stopReason": "end_turn",
                "usage": usage,
                "metrics": metrics,
            }
        ),
        (
            frame("messageStart", {"role": "assistant"}),
            *(frame("contentBlockDelta", each) for each in said),
            frame("contentBlockStop", {"contentBlockIndex": 0}),
            frame("messageStop", {"stopReason": "end_turn"}),
            frame("metadata", {"usage": usage, "metrics": metrics}),
        ),
        kind=b"application/vnd.amazon.eventstream",
        streams=streams,
    )


def _cohere() -> Answer:
    usage = {
        "billed_units": {"input_tokens": 300, "output_tokens": 50},
        "tokens": {"input_tokens": 300, "output_tokens": 50},
    }
    message = {"role": "assistant", "content": [{"type": "text", "text": "word " * 230}]}

    def event(kind: str, **members: object) -> bytes:
        return b"event: " + kind.encode() + b"\n" + sse({"type": kind, **members})

    def delta(number: int) -> bytes:
        said = {"message": {"content": {"text": f" word{number}"}}}
        return event("content-delta", index=0, delta=said)

    empty = {"message": {"role": "assistant", "content": []}}
    start = {"message": {"content": {"type": "text", "text": ""}}}
    ended = {"finish_reason": "COMPLETE", "usage": usage}
    return Answer(
        packed({"id": "bench", "message": message, "finish_reason": "COMPLETE", "usage": usage}),
        (
            event("message-start", id="bench", delta=empty),
            event("content-start", index=0, delta=start),
            *map(delta, range(46)),
            event("content-end", index=0),
            event("message-end", delta=ended),
        ),
    )


ANSWERS = {
    "/v1/chat/completions": _openai(),
    "/mistral/v1/chat/completions": _openai(),
    "/together/v1/chat/completions": _openai(),
    "/v1/messages": _anthropic(),
    "/v1beta/models/gemini-3.5-flash:generateContent": _gemini(False),
    "/v1beta/models/gemini-3.5-flash:streamGenerateContent?alt=sse": _gemini(True),
    "/model/bench/converse": _bedrock(False),
    "/model/bench/converse-stream": _bedrock(True),
    "/v2/chat": _cohere(),
}

"""What the mock provider says, by the path that it is asked at: a vendor's wire format each."""

import json
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


ANSWERS = {"/v1/chat/completions": _openai()}

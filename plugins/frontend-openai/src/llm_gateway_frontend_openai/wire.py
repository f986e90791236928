"""Small pieces of the dialect that every answer needs."""

import secrets
import time
from typing import Any

import msgspec
from llm_gateway_api.errors import GatewayError
from llm_gateway_api.events import Started, Unknown, Usage
from llm_gateway_api.sse import frame

DIALECT = "openai.chat"
DONE = b"data: [DONE]\n\n"
encode = msgspec.json.Encoder().encode


class Identity:
    """Id, time and model of one answer; the first `Started` wins."""

    def __init__(self, model: str, prefix: str) -> None:
        self.model = model
        self._prefix = prefix
        self._id: str | None = None
        self._created: int | None = None
        self._kept: dict[str, Any] = {}
        self.figures: dict[str, Any] = {}
        self.unsent = False

    def keep(self, event: Unknown) -> bool:
        """Members of the answer or of its usage that no table names; they go with the next
        object that is written. False for those of a choice."""
        if event.dialect == f"{DIALECT}:answer":
            self._kept |= event.raw
            self.unsent = True
        elif event.dialect == f"{DIALECT}:usage":
            self.figures |= event.raw
        else:
            return event.dialect not in (DIALECT, f"{DIALECT}:choice")
        return True

    def take(self, started: Started) -> None:
        self._kept |= started.extra
        self._id = self._id or started.id
        self._created = self._created or started.created

    def head(self, kind: str) -> dict[str, Any]:
        if self._id is None:
            self._id = self._prefix + secrets.token_hex(12)
        if self._created is None:
            self._created = int(time.time())
        self.unsent = False
        return {
            "id": self._id,
            "object": kind,
            "created": self._created,
            "model": self.model,
            **self._kept,
        }


def usage_object(usage: Usage) -> dict[str, Any]:
    prompt: dict[str, int] = {
        "cached_tokens": usage.cache_read,
        "audio_tokens": usage.audio_input,
    }
    if written := usage.cache_write + usage.cache_write_1h:
        prompt["cache_write_tokens"] = written
    return {
        "prompt_tokens": usage.input_total,
        "completion_tokens": usage.output_total,
        "total_tokens": usage.input_total + usage.output_total,
        "prompt_tokens_details": prompt,
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": usage.audio_output,
        },
    }


def error_body(error: GatewayError) -> bytes:
    inner = {
        "message": error.message,
        "type": error.type,
        "param": error.param,
        "code": error.code,
    }
    return encode({"error": inner})


def error_frame(error: GatewayError) -> bytes:
    return frame(error_body(error))

"""Small pieces of the dialect that every answer needs."""

import time
from collections.abc import Mapping
from random import getrandbits
from typing import Any

import msgspec
from llm_gateway_api.errors import GatewayError
from llm_gateway_api.events import Started, Unknown, Usage
from llm_gateway_api.sse import frame

DIALECT = "openai.chat"
DONE = b"data: [DONE]\n\n"
encode = msgspec.json.Encoder().encode


class Identity:
    """Id, time and model of one answer; the first `Started` wins. Its id has the dialect's
    prefix, whichever vendor's it is."""

    def __init__(self, model: str, prefix: str) -> None:
        self.model = model
        self._prefix = prefix
        self._id: str | None = None
        self._created: int | None = None
        self._kept: dict[str, Any] = {}
        self._opening: bytes | None = None
        self.figures: dict[str, Any] = {}
        self.unsent = False

    def keep(self, event: Unknown) -> bool:
        """Members of the answer or of its usage that no table names; they go with the next
        object that is written. False for those of a choice."""
        if event.dialect == f"{DIALECT}:answer":
            self._kept |= event.raw
            self._opening = None
            self.unsent = True
        elif event.dialect == f"{DIALECT}:usage":
            self.figures |= event.raw
        else:
            return event.dialect not in (DIALECT, f"{DIALECT}:choice")
        return True

    def take(self, started: Started) -> None:
        self._kept |= started.extra
        self._opening = None
        if self._id is None and started.id:
            own = started.id.startswith(self._prefix)
            self._id = started.id if own else self._prefix + started.id
        self._created = self._created or started.created

    def head(self, kind: str) -> dict[str, Any]:
        if self._id is None:
            self._id = f"{self._prefix}{getrandbits(96):024x}"  # a name, and no secret
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

    def chunk(self, kind: str, choice: Mapping[str, object], rest: bytes = b"") -> bytes:
        """The event that brings `choice`; what all events of an answer share is encoded once."""
        if self._opening is None:
            self._opening = encode(self.head(kind))[:-1]
        return b'data: %b,"choices":[%b]%b}\n\n' % (self._opening, encode(choice), rest)


def usage_object(usage: Usage) -> dict[str, Any]:
    prompt: dict[str, int] = {
        "cached_tokens": usage.cache_read,
        "audio_tokens": usage.audio_input,
    }
    if written := usage.cache_write + usage.cache_write_1h:
        prompt["cache_write_tokens"] = written
    read, made = usage.input_total, usage.output_total
    return {
        "prompt_tokens": read,
        "completion_tokens": made,
        "total_tokens": read + made,
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

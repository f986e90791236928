"""Answers, frames and strictness of a provider that speaks the Gemini dialect.

Both platforms are served: AI Studio's paths with a key, Vertex AI's with a token. What is
refused, and in which words, stands in `gemini_rules`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llm_gateway_testkit import gemini_rules as rules
from llm_gateway_testkit.steps import Answer, Received

ID = "resp-Scripted1"
MODEL = "gemini-3.5-flash"
SIGNATURE = "c2lnbmF0dXJl"
EOL = b"\r\n\r\n"
STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
TYPE = "type.googleapis.com/google.rpc."


def text(words: str, *, thought: bool = False) -> dict[str, Any]:
    return {"text": words, "thought": True} if thought else {"text": words}


def call(
    name: str,
    args: Mapping[str, Any] | None = None,
    id: str | None = None,
    signature: str | None = None,
) -> dict[str, Any]:
    """A part with a call; a model of generation 3 signs the first of a step."""
    inner = {"name": name, "args": dict(args or {}), **({"id": id} if id else {})}
    return {"functionCall": inner, **({"thoughtSignature": signature} if signature else {})}


def usage(prompt: int = 9, made: int = 2, thoughts: int = 0, **more: Any) -> dict[str, Any]:
    found = {"promptTokenCount": prompt, "candidatesTokenCount": made}
    if thoughts:
        found["thoughtsTokenCount"] = thoughts
    return {**found, "totalTokenCount": prompt + made + thoughts, **more}


def chunk(
    parts: Sequence[Mapping[str, Any]] | None = None,
    finish: str | None = None,
    usage: Mapping[str, Any] | None = None,
    **candidate: Any,
) -> dict[str, Any]:
    """One response, whole or a piece of a stream."""
    first: dict[str, Any] = {"index": 0, **candidate}
    if parts is not None:
        first["content"] = {"role": "model", "parts": list(parts)}
    if finish is not None:
        first["finishReason"] = finish
    found: dict[str, Any] = {"candidates": [first], "modelVersion": MODEL, "responseId": ID}
    return {**found, **({"usageMetadata": dict(usage)} if usage else {})}


def blocked(reason: str = "PROHIBITED_CONTENT") -> dict[str, Any]:
    """What comes where the prompt itself is refused."""
    return {
        "promptFeedback": {"blockReason": reason},
        "usageMetadata": {"promptTokenCount": 9, "totalTokenCount": 9},
        "modelVersion": MODEL,
        "responseId": ID,
    }


def chat_answer(
    parts: Sequence[Mapping[str, Any]] = (), finish: str = "STOP", **more: Any
) -> Answer:
    """A whole answer of ``generateContent``."""
    return whole(chunk(parts or [text("Low tide")], finish, usage(), **more))


def whole(response: Mapping[str, Any]) -> Answer:
    """An answer that is one response."""
    return _json(response)


def chat_stream(
    parts: Sequence[Mapping[str, Any]] = (), finish: str = "STOP", **figures: Any
) -> list[bytes]:
    """The frames of ``streamGenerateContent?alt=sse``, one for each part; no end marker."""
    given = list(parts) or [text("Low"), text(" tide")]
    last = len(given) - 1
    return [
        sse(chunk([each], finish if at == last else None, usage(made=at + 1, **figures)))
        for at, each in enumerate(given)
    ]


def embeddings_answer(vectors: Sequence[Sequence[float]] = ((1.0, -2.0),)) -> Answer:
    return _json({"embeddings": [{"values": list(each)} for each in vectors]})


def predict_answer(vectors: Sequence[Sequence[float]] = ((1.0, -2.0),), tokens: int = 3) -> Answer:
    """Vertex AI's answer for its older embedding models."""
    statistics = {"truncated": False, "token_count": tokens}
    return _json(
        {
            "predictions": [
                {"embeddings": {"values": list(each), "statistics": statistics}} for each in vectors
            ]
        }
    )


def count_answer(total: int = 9) -> Answer:
    return _json({"totalTokens": total})


def models_answer(*names: str) -> Answer:
    rows = [
        {
            "name": f"models/{each}",
            "displayName": each,
            "inputTokenLimit": 1_048_576,
            "outputTokenLimit": 65_536,
            "supportedGenerationMethods": ["generateContent", "countTokens"],
        }
        for each in names or (MODEL,)
    ]
    return _json({"models": rows})


def error_body(
    status: int,
    message: str = "The scripted provider says no.",
    *,
    reason: str | None = None,
    retry: str | None = None,
    quota: str | None = None,
    name: str | None = None,
) -> dict[str, Any]:
    """An error object with the details that the vendor gives."""
    details: list[dict[str, Any]] = []
    if reason:
        details.append({"@type": f"{TYPE}ErrorInfo", "reason": reason})
    if quota:
        details.append({"@type": f"{TYPE}QuotaFailure", "violations": [{"quotaId": quota}]})
    if retry:
        details.append({"@type": f"{TYPE}RetryInfo", "retryDelay": retry})
    error = {"code": status, "message": message, "status": name or STATUSES.get(status, "UNKNOWN")}
    return {"error": {**error, "details": details} if details else error}


def error_answer(
    status: int, message: str = "The scripted provider says no.", **more: Any
) -> Answer:
    return _json(error_body(status, message, **more), status)


def sse(payload: Mapping[str, Any]) -> bytes:
    """One event; the vendor ends its lines with CRLF."""
    return b"data: " + _dump(payload) + EOL


def bare_error(status: int = 503) -> bytes:
    """An error inside a stream as the vendor also writes it: bare JSON over several lines."""
    return json.dumps(error_body(status), indent=2).replace("\n", "\r\n").encode()


def strict(
    expect_key: str | None = None, expect_token: str | None = None
) -> Callable[[Received], Answer | None]:
    """A validator with the vendor's manners; a refused key is a 400 there, a token a 401."""

    def validate(request: Received) -> Answer | None:
        path, _, query = request.path.partition("?")
        headers = request.headers
        if expect_token is not None:
            if headers.get("authorization") != f"Bearer {expect_token}":
                return error_answer(401, "Request had invalid authentication credentials.")
        elif expect_key and headers.get("x-goog-api-key") != expect_key:
            text = "API key not valid. Please pass a valid API key."
            return error_answer(400, text, reason="API_KEY_INVALID")
        if "key=" in query:
            return error_answer(400, "A key in the address gets into logs.")
        found = rules.PATH.fullmatch(path)
        if found is None or found["operation"] not in rules.OPERATIONS:
            known = request.method == "GET" and "/models" in path
            return None if known else error_answer(404, "Requested entity was not found.")
        if found["operation"] == "streamGenerateContent" and query != "alt=sse":
            return error_answer(400, "This server streams with alt=sse alone.")
        try:
            rules.check(request, found["operation"], found["model"], bool(found["vertex"]))
        except rules.RefusedBody as error:
            return error_answer(400, str(error))
        return None

    return validate


def _dump(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _json(value: Mapping[str, Any], status: int = 200) -> Answer:
    return Answer(status, {"content-type": "application/json; charset=UTF-8"}, _dump(value))

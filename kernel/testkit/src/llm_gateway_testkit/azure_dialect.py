"""How Azure OpenAI differs from OpenAI: addresses, credentials, content-filter notes, errors.

Everything else is `openai_dialect`. Shapes are those that the vendor's REST specification and
the ``AzureOpenAI`` client of OpenAI's SDK agree on.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit.steps import Answer, Received

BASE_MODEL = "gpt-6-sol-2026-09-22"
CLASSIC = re.compile(r"/openai/deployments/([^/?]+)(/chat/completions|/completions|/embeddings)")
DATED = re.compile(r"20\d\d-\d\d-\d\d(-preview)?")
FIRST_STREAM_OPTIONS = "2024-09-01"
SAFE = {"filtered": False, "severity": "safe"}
PROMPT_RESULTS = [
    {
        "prompt_index": 0,
        "content_filter_results": {
            "hate": SAFE,
            "jailbreak": {"filtered": False, "detected": False},
        },
    }
]
OWN_FIELDS = ("data_sources", "user_security_context")


def chat_answer(text: str | None = "Low tide", **members: Any) -> Answer:
    """A whole completion with the notes of the content filter."""
    plain = openai.chat_answer(text, model=BASE_MODEL, **members)
    body = json.loads(plain.body) | {"prompt_filter_results": PROMPT_RESULTS}
    for choice in body["choices"]:
        choice["content_filter_results"] = {"hate": SAFE}
    return _answer(body)


def chat_stream(
    texts: Sequence[str] = ("Low", " tide"), notes: bool = False, **members: Any
) -> list[bytes]:
    """A stream; its first chunk has the prompt's filter results, no choice and no id.

    With `notes` the filter works beside the model: its notes come as chunks without a delta.
    """
    usual = openai.chat_stream(texts, model=BASE_MODEL, **members)
    empty = {"choices": [], "created": 0, "id": "", "model": "", "object": ""}
    frames = [openai.sse(empty | {"prompt_filter_results": PROMPT_RESULTS})]
    for frame in usual[:-1]:
        found = json.loads(frame.removeprefix(b"data: "))
        for choice in found["choices"]:
            choice["content_filter_results"] = {}
        frames.append(openai.sse(found))
        if notes:
            frames.append(note())
    return [*frames, usual[-1]]


def note() -> bytes:
    """A chunk of the asynchronous filter: results and offsets, and no delta."""
    choice = {
        "index": 0,
        "finish_reason": None,
        "content_filter_results": {"violence": SAFE},
        "content_filter_offsets": {"check_offset": 0, "start_offset": 0, "end_offset": 8},
    }
    return openai.sse({"id": "", "object": "", "created": 0, "model": "", "choices": [choice]})


def blocked_answer(inner: str = "innererror") -> Answer:
    """A prompt that the content filter refused."""
    results = {
        "violence": {"filtered": True, "severity": "medium"},
        "jailbreak": {"filtered": False, "detected": False},
    }
    return _answer(
        {
            "error": {
                "message": "The prompt triggered the content management policy.",
                "type": None,
                "param": "prompt",
                "code": "content_filter",
                "status": 400,
                inner: {
                    "code": "ResponsibleAIPolicyViolation",
                    "content_filter_result": results,
                },
            }
        },
        400,
    )


def error_answer(
    status: int,
    code: str | None = None,
    message: str = "The scripted resource says no.",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """An error as the vendor words it: often without type and param, code a number as text."""
    return _answer({"error": {"code": code or str(status), "message": message}}, status, headers)


def strict(
    key: str | None = None,
    token: str | None = None,
    deployments: Sequence[str] | None = None,
) -> Callable[[Received], Answer | None]:
    """A validator with the vendor's manners.

    Either the `key` (``api-key``, on v1 as a bearer too) or an Entra `token`, never both; a
    classic address with an api-version, or v1 with the deployment as the model.
    """
    inside = openai.strict()

    def validate(request: Received) -> Answer | None:
        path, _, query = request.path.partition("?")
        classic = CLASSIC.fullmatch(path)
        if (refusal := _credential(request, key, token, classic is None)) is not None:
            return refusal
        version = dict(each.partition("=")[::2] for each in query.split("&")).get("api-version")
        if classic is not None or path == "/openai/models":
            if version is None or not DATED.fullmatch(version):
                return error_answer(404, "404", "Resource not found")
        elif not path.startswith("/openai/v1/") or version not in (None, "preview", "v1"):
            return error_answer(404, "404", "Resource not found")
        if request.method == "GET":
            return None
        body = json.loads(request.body)
        name = classic[1] if classic is not None else body.get("model")
        if deployments is not None and name not in deployments:
            return error_answer(404, "DeploymentNotFound", "The API deployment does not exist.")
        return _body(request, body, path, classic, version)

    def _body(
        request: Received,
        body: dict[str, Any],
        path: str,
        classic: re.Match[str] | None,
        version: str | None,
    ) -> Answer | None:
        old = classic is not None and version is not None and version < FIRST_STREAM_OPTIONS
        if "stream_options" in body and (old or "data_sources" in body):
            return error_answer(400, None, "stream_options: Extra inputs are not permitted")
        if old and "max_completion_tokens" in body:
            text = "Unrecognized request argument supplied: max_completion_tokens"
            return error_answer(400, None, text)
        rest = {name: value for name, value in body.items() if name not in OWN_FIELDS}
        rest.setdefault("model", "ignored")
        if path == "/openai/v1/responses":
            return None
        suffix = classic[2] if classic is not None else path.removeprefix("/openai/v1")
        asked = Received(request.method, f"/v1{suffix}", {}, json.dumps(rest).encode())
        return inside(asked)

    return validate


def _credential(request: Received, key: str | None, token: str | None, v1: bool) -> Answer | None:
    given, bearer = request.headers.get("api-key"), request.headers.get("authorization")
    if given is not None and bearer is not None:
        return error_answer(401, "401", "Send one credential.")
    wanted = {f"Bearer {each}" for each in (token, key if v1 else None) if each}
    if key is None and token is None:
        return None
    if (given is not None and given == key) or (bearer is not None and bearer in wanted):
        return None
    return error_answer(401, "401", "Access denied due to invalid subscription key.")


def _answer(
    body: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Answer:
    return Answer(status, headers or {}, json.dumps(body, separators=(",", ":")).encode())

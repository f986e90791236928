"""The OpenAPI 3.1 document of a gateway's routes."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from llm_gateway_api import EndpointSpec, FrontendSpec

_PLACEHOLDER = re.compile(r"\{(\w+)(?::path)?\}")
_ERRORS = {
    "400": "The request is at fault; the message names the field and says how to mend it.",
    "401": "The key is missing or unknown.",
    "402": "A budget is used up.",
    "403": "The caller may not do this.",
    "404": "There is no such model, or no such thing.",
    "413": "The body is too large.",
    "429": "A limit is reached; `retry-after` says when to come back.",
    "502": "No provider could answer.",
    "503": "Nobody is available now; `retry-after` says when to come back.",
    "504": "The provider did not answer in time.",
}
_USUAL = ("400", "401", "403", "429", "503")
_OF_MODELS = ("402", "404", "413", "502", "504")
_HEADERS = {
    "x-request-id": "Names the request in the log.",
    "x-gateway-provider": "Who answered.",
    "x-gateway-model": "The provider's own name of the model.",
    "x-gateway-attempts": "How many attempts it took.",
    "x-gateway-hedge": "`won` or `lost`, where a second attempt ran beside the first.",
    "x-gateway-cache": "`hit` or `miss`, where a cache is in force.",
    "x-gateway-cost": "USD, where the price is known.",
    "x-gateway-dropped": "Parameters that the model cannot take.",
    "server-timing": "What took how long until the answer began; asked for by `x-gateway-timing`.",
}
_HEALTH = (
    ("/health", "Whether the gateway is well; `detailed=true` adds its parts"),
    ("/health/live", "Whether the process lives"),
    ("/health/ready", "Whether it takes requests"),
)
_ERROR: Mapping[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


def document(routes: Sequence[FrontendSpec | EndpointSpec]) -> dict[str, Any]:
    """Every route on the main port, with what its plugin says of it."""
    paths: dict[str, dict[str, Any]] = {
        path: {"get": _operation("GET", path, summary, None, {})} for path, summary in _HEALTH
    }
    named = Counter(each["get"]["operationId"] for each in paths.values())
    for spec in routes:
        if isinstance(spec, EndpointSpec) and spec.listener != "main":
            continue
        path = _PLACEHOLDER.sub(r"{\1}", spec.path)
        model = isinstance(spec, FrontendSpec)
        role = "user" if isinstance(spec, FrontendSpec) else spec.role
        operation = _operation(spec.method, spec.path, "", role, spec.doc, model=model)
        if isinstance(spec, EndpointSpec) and spec.role in ("operator", "admin"):
            operation["x-scope"] = spec.scope
        name = operation["operationId"]
        named[name] += 1
        if named[name] > 1:  # paths that differ in signs alone
            operation["operationId"] = f"{name}_{named[name]}"
        paths.setdefault(path, {})[spec.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "LLM Inference Gateway",
            "version": version("llm-gateway-endpoint-openapi"),
            "description": "One API in front of many vendors of language models.",
        },
        "security": [{"bearer": []}, {"apiKey": []}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
            "schemas": {"Error": _ERROR},
            "responses": {code: _error(text) for code, text in _ERRORS.items()},
        },
    }


def _operation(
    method: str,
    path: str,
    summary: str,
    role: str | None,
    doc: Mapping[str, Any],
    *,
    model: bool = False,
) -> dict[str, Any]:
    """What is known of every route, below what its plugin says."""
    words = re.sub(r"[^a-z0-9]+", "_", f"{method}_{path}".lower()).strip("_")
    operation: dict[str, Any] = {"operationId": words, "summary": summary or f"{method} {path}"}
    success: dict[str, Any] = {"description": "The answer."}
    if model:
        success["headers"] = {
            name: {"description": text, "schema": {"type": "string"}}
            for name, text in _HEADERS.items()
        }
    codes = (*_USUAL, *_OF_MODELS) if model else _USUAL if role is not None else ()
    errors = {code: {"$ref": f"#/components/responses/{code}"} for code in sorted(codes)}
    operation["responses"] = {"200": success, **errors}
    if role is None:
        operation["security"] = []
    else:
        operation["x-required-role"] = role
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PLACEHOLDER.findall(path)
    ]
    merged = {**operation, **doc}
    merged["responses"] = {**operation["responses"], **doc.get("responses", {})}
    if parameters or "parameters" in doc:
        merged["parameters"] = [*parameters, *doc.get("parameters", ())]
    return merged


def _error(text: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Error"}
    return {"description": text, "content": {"application/json": {"schema": schema}}}

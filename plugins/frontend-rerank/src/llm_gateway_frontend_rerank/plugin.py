"""Declares ``POST /v1/rerank`` and, for clients of Cohere's v2 SDK, ``POST /v2/rerank``."""

import llm_gateway_api as gw

from llm_gateway_frontend_rerank.dialect import NAME, RerankFrontend

PATHS = ("/v1/rerank", "/v2/rerank")
_SCHEMA = {
    "type": "object",
    "required": ["model", "query", "documents"],
    "properties": {
        "model": {"type": "string", "description": "A public name, or `provider/model`."},
        "query": {"type": "string"},
        "documents": {"type": "array", "items": {"type": "string"}},
        "top_n": {"type": "integer"},
    },
}
DOC = {
    "summary": "Documents ranked against a query, in Cohere's form",
    "requestBody": {"required": True, "content": {"application/json": {"schema": _SCHEMA}}},
}


@gw.hookimpl
def llm_gateway_frontends() -> list[gw.FrontendSpec]:
    return [
        gw.FrontendSpec(NAME, "POST", path, "rerank", RerankFrontend, doc=DOC) for path in PATHS
    ]

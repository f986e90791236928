"""Declares ``POST /v1/rerank`` and, for clients of Cohere's v2 SDK, ``POST /v2/rerank``."""

import llm_gateway_api as gw

from llm_gateway_frontend_rerank.dialect import NAME, RerankFrontend

PATHS = ("/v1/rerank", "/v2/rerank")


@gw.hookimpl
def llm_gateway_frontends() -> list[gw.FrontendSpec]:
    return [gw.FrontendSpec(NAME, "POST", path, "rerank", RerankFrontend) for path in PATHS]

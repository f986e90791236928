"""Declarations of this plugin."""

from collections.abc import Mapping
from typing import Any

from llm_gateway_api.hookspecs import hookimpl
from llm_gateway_api.specs import EndpointSpec, FrontendSpec

from llm_gateway_frontend_openai import describing
from llm_gateway_frontend_openai.dialects import CHAT, COMPLETIONS, EMBEDDINGS, Dialect
from llm_gateway_frontend_openai.models import GetModel, ListModels


def _spec(dialect: Dialect, path: str, doc: Mapping[str, Any]) -> FrontendSpec:
    return FrontendSpec(dialect.name, "POST", path, dialect.operation, lambda: dialect, doc=doc)


@hookimpl
def llm_gateway_frontends() -> list[FrontendSpec]:
    return [
        _spec(CHAT, "/v1/chat/completions", describing.CHAT),
        _spec(COMPLETIONS, "/v1/completions", describing.COMPLETIONS),
        _spec(EMBEDDINGS, "/v1/embeddings", describing.EMBEDDINGS),
    ]


@hookimpl
def llm_gateway_endpoints() -> list[EndpointSpec]:
    return [
        EndpointSpec(
            "GET",
            "/v1/models",
            "user",
            ListModels,
            needs=("catalog", "prices"),
            doc=describing.LIST,
            scope="tenant",
        ),
        EndpointSpec(
            "GET",
            "/v1/models/{id:path}",
            "user",
            GetModel,
            needs=("catalog", "prices"),
            doc=describing.GET,
            scope="tenant",
        ),
    ]

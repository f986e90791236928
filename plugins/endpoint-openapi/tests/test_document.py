"""The description is valid OpenAPI, and names every route that the gateway serves."""

from importlib.metadata import entry_points
from typing import Any

import llm_gateway_api as gw
from llm_gateway_endpoint_openapi.document import document
from llm_gateway_testkit.gateway import running_gateway
from llm_gateway_testkit.rawclient import call
from openapi_spec_validator import validate


def declared() -> list[gw.FrontendSpec | gw.EndpointSpec]:
    """What every installed plugin declares."""
    found: list[Any] = []
    for point in entry_points(group="llm_gateway.plugins"):
        module = point.load()
        for hook in ("llm_gateway_frontends", "llm_gateway_endpoints"):
            found += getattr(module, hook, list)()
    return found


def test_it_is_valid_and_complete() -> None:
    routes = declared()
    made = document(routes)
    validate(made)

    for spec in routes:
        if getattr(spec, "listener", "main") == "main":
            path = spec.path.replace(":path}", "}")
            assert spec.method.lower() in made["paths"][path]


def test_each_dialect_describes_itself() -> None:
    """Who reads the description learns what each route is, and what its body must have."""
    made = document(declared())

    for spec in declared():
        if isinstance(spec, gw.FrontendSpec):
            operation = made["paths"][spec.path]["post"]
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            assert not operation["summary"].startswith("POST"), spec.path
            assert "model" in schema["required"], spec.path


def test_operation_ids_are_unique() -> None:
    made = document(declared())
    ids = [each["operationId"] for path in made["paths"].values() for each in path.values()]

    assert len(ids) == len(set(ids))


async def test_it_is_served_without_a_key() -> None:
    async with running_gateway({"providers": {"sim": {"kind": "simulated"}}}) as gateway:
        answer = await call(f"{gateway.url}/openapi.json")

    assert answer.status == 200
    assert answer.json["paths"]["/v1/chat/completions"]["post"]["x-required-role"] == "user"
    assert answer.json["paths"]["/health"]["get"]["security"] == []

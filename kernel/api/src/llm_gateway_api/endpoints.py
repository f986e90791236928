"""What a plugin's own HTTP route is asked and answers."""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from llm_gateway_api.values import Arrival, Headers


@dataclass(frozen=True, slots=True)
class EndpointRequest:
    """A call of a plugin's route; `match` holds the path's placeholders, decoded."""

    arrival: Arrival
    match: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class EndpointResponse:
    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Headers = field(default_factory=dict)


class EndpointHandler(Protocol):
    """Answers one route. A `GatewayError` is its error; anything else is a 500."""

    def __call__(self, request: EndpointRequest) -> Awaitable[EndpointResponse]: ...

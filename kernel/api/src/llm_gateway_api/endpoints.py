"""What a plugin's own HTTP route is asked and answers."""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from llm_gateway_api.values import Arrival, Headers

NOTHING: Mapping[str, str] = MappingProxyType({})


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


class Inside(Protocol):
    """Offered as ``inside``: plugins' routes of the main port, asked within the process, for
    pages that show what other plugins know. The routes are those of the present configuration.

    Who calls is told from the headers of `arrival`, as of a request that came by the network:
    the same filters, roles, audit and errors.
    """

    def brought(self, method: str, path: str) -> bool:
        """Whether a plugin brings this route."""

    async def known(self, arrival: Arrival) -> Arrival:
        """`arrival` with its caller. Raises `GatewayError` where nobody knows it."""

    async def __call__(
        self,
        arrival: Arrival,
        method: str,
        path: str,
        query: Mapping[str, str] = NOTHING,
        body: bytes = b"",
    ) -> EndpointResponse: ...


class EndpointHandler(Protocol):
    """Answers one route. A `GatewayError` is its error; anything else is a 500."""

    def __call__(self, request: EndpointRequest) -> Awaitable[EndpointResponse]: ...

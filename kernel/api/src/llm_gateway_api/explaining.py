"""Explaining how a request would be routed, without sending it."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from llm_gateway_api.routing import Asked
from llm_gateway_api.values import Headers, Principal, Target


class Explain(Protocol):
    """Offered as ``explain``: the decision that serving would make, by the same code.

    No provider is asked, no limit is taken from and no turn moves. What is returned is plain
    data, with secrets masked. What is kept of `principal`'s key or tenant holds, as it does in
    serving (`SupportsCallers`), but where `principal` itself says otherwise.

    Raises:
        GatewayError: what the client would get before any provider is asked.
    """

    async def __call__(
        self, path: str, body: bytes, headers: Headers, principal: Principal
    ) -> Mapping[str, object]: ...

    def guards(self, target: Target) -> Mapping[str, Mapping[str, object]]:
        """What each guard that can be looked at would say to a small call now, by its name."""


@runtime_checkable
class SupportsLook(Protocol):
    """A guard that can say what it would do, and take nothing for it."""

    def look(self, target: Target, asked: Asked) -> Mapping[str, object]:
        """Plain data; ``admits`` says whether it would."""

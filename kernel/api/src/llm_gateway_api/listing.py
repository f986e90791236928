"""The models that a vendor itself lists now, page by page.

`Provider.models` is what an instance is configured or known to serve, and what requests go by.
The vendor's own list says what there is besides: for operators who look for what is new, or for
the name of a model on a server of their own.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import msgspec

from llm_gateway_api.contracts import UpstreamRequest
from llm_gateway_api.values import ModelInfo


class ModelPage(msgspec.Struct, frozen=True):
    """A part of the list; `after` asks for the next one, None at the end."""

    models: tuple[ModelInfo, ...]
    after: str | None = None


@runtime_checkable
class SupportsModelList(Protocol):
    def list_models(self, after: str | None) -> UpstreamRequest:
        """Ask for the first page (None), or for the one behind it; costs no tokens."""

    def listed(self, body: bytes) -> ModelPage:
        """Read an answer. Raises `UpstreamTruncatedError` for what is no list."""


class Listing(Protocol):
    """Offered as ``listing``: asks a provider in service for its vendor's list.

    Raises:
        GatewayError: there is no such provider, it has no list, or it did not answer.
    """

    providers: Sequence[str]

    async def __call__(self, provider: str) -> Sequence[ModelInfo]: ...

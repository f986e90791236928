"""Texts as vectors for plugins, by a provider that is configured anyway."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from time import monotonic

from llm_gateway_api import (
    Asked,
    EmbeddingsRequest,
    EmbeddingVector,
    Event,
    PermissionDeniedError,
    UnsupportedParameterError,
)
from msgspec import structs

from llm_gateway.attempt import MAX_ANSWER_BYTES, Bound
from llm_gateway.calling import opened
from llm_gateway.instances import Instance
from llm_gateway.routing import Filters, against

CAPABILITY = "embeddings"


class Embedder:
    """Meets `Embed`: one call to one provider, no other is tried."""

    def __init__(
        self,
        providers: Mapping[str, Bound],
        instances: Mapping[str, Instance],
        filters: Filters = (),
    ) -> None:
        self._providers = providers
        self._instances = instances
        self._filters = filters

    async def __call__(
        self, text: str, model: str | None, seconds: float, asked: Asked | None = None
    ) -> tuple[float, ...]:
        name = model or next(self.names(), None)
        provider, _, rest = (name or "").partition("/")
        if provider not in self._providers or not rest:
            raise UnsupportedParameterError(f"There is no embedding model {name!r}.", param="model")
        if asked is not None:
            self._permit(asked, provider, rest)
        bound = self._providers[provider]
        request = EmbeddingsRequest(rest, (text,))
        async with asyncio.timeout(seconds):
            events: Sequence[Event]
            if bound.can.direct is not None:
                events = [each async for each in bound.can.direct.stream(request)]
            else:
                events = await self._asked(bound, request, monotonic() + seconds)
        return next(each.values for each in events if isinstance(each, EmbeddingVector))

    def names(self) -> Iterator[str]:
        """What can embed, as ``provider/model``, in the order of the configuration."""
        for provider, known in self._instances.items():
            for each in known.models:
                if CAPABILITY in each.capabilities:
                    yield f"{provider}/{each.id}"

    def _permit(self, asked: Asked, provider: str, model: str) -> None:
        """Raises where routing would not let this caller's own request to embed go there."""
        own = structs.replace(
            asked, model=model, operation="embeddings", stream=False, tools=False, images=False
        )
        target = self._instances[provider].target(model, 1.0)
        if (reason := against(own, target, self._filters)) is not None:
            raise PermissionDeniedError(f"{target.name}: {reason}.")

    async def _asked(
        self, bound: Bound, request: EmbeddingsRequest, deadline: float
    ) -> Sequence[Event]:
        if bound.can.embeddings is None:
            raise UnsupportedParameterError(f"{bound.name} has no embeddings.", param="model")
        answer = await opened(bound, bound.can.embeddings.encode_embeddings(request), deadline)
        try:
            if answer.error is not None:
                raise answer.error
            decoder = answer.asked.decoder()
            body = await answer.connection.read(MAX_ANSWER_BYTES)
            return [*decoder.feed(body), *decoder.finish()]
        finally:
            answer.connection.release()

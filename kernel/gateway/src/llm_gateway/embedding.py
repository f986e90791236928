"""Texts as vectors for plugins, by a provider that is configured anyway."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from time import monotonic

from llm_gateway_api import (
    EmbeddingsRequest,
    EmbeddingVector,
    Event,
    ModelInfo,
    UnsupportedParameterError,
)

from llm_gateway.attempt import MAX_ANSWER_BYTES, Bound
from llm_gateway.calling import opened

CAPABILITY = "embeddings"


class Embedder:
    """Meets `Embed`: one call to one provider, no other is tried."""

    def __init__(
        self, providers: Mapping[str, Bound], models: Mapping[str, Sequence[ModelInfo]]
    ) -> None:
        self._providers = providers
        self._models = models

    async def __call__(self, text: str, model: str | None, seconds: float) -> tuple[float, ...]:
        name = model or next(self.names(), None)
        provider, _, rest = (name or "").partition("/")
        if provider not in self._providers or not rest:
            raise UnsupportedParameterError(f"There is no embedding model {name!r}.", param="model")
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
        for provider, models in self._models.items():
            for each in models:
                if CAPABILITY in each.capabilities:
                    yield f"{provider}/{each.id}"

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

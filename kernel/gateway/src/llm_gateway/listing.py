"""Asking providers for the models that their vendors list, page after page."""

from collections.abc import Mapping, Sequence
from time import monotonic

from llm_gateway_api import (
    ModelInfo,
    ModelPage,
    NotFoundError,
    SupportsModelList,
    UpstreamTruncatedError,
)

from llm_gateway.attempt import Bound
from llm_gateway.calling import opened

LIST_SECONDS = 30.0
MAX_PAGES = 100
MAX_PAGE_BYTES = 16 * 1024 * 1024


class Lister:
    """Meets `Listing` for the providers of one generation."""

    def __init__(self, bounds: Mapping[str, Bound]) -> None:
        self._bounds = bounds
        self.providers = tuple(
            name for name, each in bounds.items() if isinstance(each.provider, SupportsModelList)
        )

    async def __call__(self, provider: str) -> Sequence[ModelInfo]:
        bound = self._bounds.get(provider)
        if bound is None or not isinstance(bound.provider, SupportsModelList):
            raise NotFoundError(
                f"No provider {provider[:64]!r} lists its models "
                f"({', '.join(self.providers) or 'none does'}).",
                param="provider",
            )
        found: dict[str, ModelInfo] = {}
        deadline, after = monotonic() + LIST_SECONDS, None
        for _ in range(MAX_PAGES):
            page = await self._page(bound, bound.provider, after, deadline)
            found |= {each.id: each for each in page.models}
            if page.after is None or page.after == after:
                return tuple(found.values())
            after = page.after
        raise UpstreamTruncatedError(f"the list of models has more than {MAX_PAGES} pages")

    async def _page(
        self, bound: Bound, asked: SupportsModelList, after: str | None, deadline: float
    ) -> ModelPage:
        answer = await opened(bound, asked.list_models(after), deadline)
        try:
            if answer.error is not None:
                raise answer.error
            return asked.listed(await answer.connection.read(MAX_PAGE_BYTES))
        finally:
            answer.connection.release()

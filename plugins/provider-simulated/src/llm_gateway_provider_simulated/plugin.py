"""Declares the provider that answers by itself: for first steps, tests and load."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Literal

import llm_gateway_api as gw
from pydantic import Field

from llm_gateway_provider_simulated import answers
from llm_gateway_provider_simulated.faults import Faults, wanted

MAX_DIMENSIONS = 4096


class SimulatedSettings(gw.ProviderSettings):
    """Settings under ``providers.<name>``, beside those that every provider has."""

    latency_ms: gw.Milliseconds = Field(default=0, description="wait before each answer")
    chunk_delay_ms: gw.Milliseconds = Field(default=0, description="wait between two words")
    words: int = Field(
        default=0, ge=0, le=100_000, description="fill text answers up to so many words"
    )
    dimensions: int = Field(
        default=64, ge=1, le=MAX_DIMENSIONS, description="length of an embedding"
    )


class SimulatedProvider:
    """Answers the same to the same request, at once or as slowly as configured."""

    def __init__(self, name: str, settings: SimulatedSettings) -> None:
        self._settings = settings
        self._models = _models(settings)

    def models(self) -> Sequence[gw.ModelInfo]:
        return self._models

    async def stream(self, request: gw.CanonicalRequest) -> AsyncIterator[gw.Event]:
        faults = _faults(request)
        if wait := self._settings.latency_ms / 1000 + faults.delay:
            await asyncio.sleep(wait)
        faults.raise_error()
        events = list(self._events(request))
        pause = self._settings.chunk_delay_ms / 1000
        for event in events[: len(events) // 2] if faults.cut else events:
            if pause and isinstance(event, gw.TextDelta):
                await asyncio.sleep(pause)
            yield event
        if faults.cut:
            raise gw.UpstreamTruncatedError("The simulated provider was asked to cut its answer.")

    def _events(self, request: gw.CanonicalRequest) -> Iterator[gw.Event]:
        yield gw.Started(id=_id(request), model=request.model)
        if isinstance(request, gw.ChatRequest):
            yield from _chat(request, self._settings.words)
        elif isinstance(request, gw.EmbeddingsRequest):
            yield from _embeddings(request, self._settings.dimensions)
        else:
            yield from _ranking(request)


_: type[gw.DirectProvider] = SimulatedProvider


def _chat(request: gw.ChatRequest, length: int) -> Iterator[gw.Event]:
    given = answers.answer(request, length)
    wanted_choices = request.params.get("n")
    choices = wanted_choices if isinstance(wanted_choices, int) else 1
    output = 0
    for index in range(min(max(choices, 1), 128)):
        for word in given.words:
            yield gw.TextDelta(word, index)
        for call, (tool, arguments) in enumerate(given.calls):
            id_ = f"call_{_id(request)[4:16]}_{index}_{call}"
            kind: Literal["custom", "function"] = "custom" if tool.kind == "custom" else "function"
            yield gw.ToolCallDelta(call, id_, tool.name, "", index, kind)
            yield gw.ToolCallDelta(call, arguments=arguments, index=index, kind=kind)
        output += len(given.words) + sum(len(text.split()) for _, text in given.calls)
        yield gw.Finished(given.reason, index)
    yield gw.UsageReport(gw.Usage(input=answers.input_words(request), output=output))


def _embeddings(request: gw.EmbeddingsRequest, default: int) -> Iterator[gw.Event]:
    dimensions = request.params.get("dimensions")
    if dimensions is None:
        dimensions = default
    if not isinstance(dimensions, int) or not 1 <= dimensions <= MAX_DIMENSIONS:
        raise gw.UnsupportedParameterError(
            f"dimensions is a whole number from 1 to {MAX_DIMENSIONS}.", param="dimensions"
        )
    for index, item in enumerate(request.inputs):
        yield gw.EmbeddingVector(index, answers.vector(item, dimensions))
    sizes = (len(item.split()) if isinstance(item, str) else len(item) for item in request.inputs)
    yield gw.UsageReport(gw.Usage(input=sum(sizes)))
    yield gw.Finished("stop")


def _ranking(request: gw.RerankRequest) -> Iterator[gw.Event]:
    scores = [
        (answers.overlap(request.query, document), index)
        for index, document in enumerate(request.documents)
    ]
    for score, index in sorted(scores, key=lambda each: (-each[0], each[1]))[: request.top_n]:
        yield gw.RankedDocument(index, score)
    texts = (request.query, *request.documents)
    yield gw.UsageReport(gw.Usage(input=sum(len(text.split()) for text in texts)))
    yield gw.Finished("stop")


def _faults(request: gw.CanonicalRequest) -> Faults:
    said = answers.last_user_text(request) if isinstance(request, gw.ChatRequest) else ""
    return wanted(request.model, said)


def _id(request: gw.CanonicalRequest) -> str:
    digest = hashlib.sha256(repr(request).encode("utf-8", "surrogateescape")).hexdigest()
    return f"sim-{digest[:24]}"


def _models(settings: SimulatedSettings) -> tuple[gw.ModelInfo, ...]:
    """What is configured, else one model of each kind."""
    if not settings.models:
        return (
            gw.ModelInfo(
                "simulated",
                context_window=128_000,
                capabilities=frozenset({"chat", "tools", "structured_output"}),
                input_price="0",
                output_price="0",
            ),
            gw.ModelInfo(
                "simulated-embedding",
                context_window=128_000,
                capabilities=frozenset({"embeddings"}),
                input_price="0",
                output_price="0",
            ),
        )
    entries = (
        entry if isinstance(entry, gw.ModelEntry) else gw.ModelEntry(id=entry)
        for entry in settings.models
    )
    return tuple(
        gw.ModelInfo(each.id, each.context_window, each.max_output, frozenset(each.capabilities))
        for each in entries
    )


@gw.hookimpl
def llm_gateway_providers() -> list[gw.ProviderSpec]:
    return [
        gw.ProviderSpec(
            kind="simulated",
            settings=SimulatedSettings,
            make=SimulatedProvider,
            standalone=True,
            surfaces=frozenset({"chat", "embeddings", "rerank"}),
        )
    ]

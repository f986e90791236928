"""Embeddings and rankings: what the vendor is asked, and its answers."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import llm_gateway_api as gw
import msgspec

from llm_gateway_provider_cohere.errors import broken
from llm_gateway_provider_cohere.models import DIMENSIONS
from llm_gateway_provider_cohere.params import Rule, outcome
from llm_gateway_provider_cohere.values import decoded, member, meters, rows, words

MAX_TEXTS = 96
EMBEDDING = {"encoding_format": Rule(neutral=("float", "base64")), "dimensions": Rule()}
RANKING = {
    "max_tokens_per_doc": Rule("max_tokens_per_doc"),
    "priority": Rule("priority", 0, 999),
    "return_documents": Rule(neutral=(True, False)),  # written by the gateway, which has them
}
OWN = ("input_type", "truncate", "max_tokens", "priority")


def embedding(
    request: gw.EmbeddingsRequest, input_type: str, truncate: str
) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """The bodies of as many calls as the vendor's limit demands, and what was left out."""
    texts = [_text(each) for each in request.inputs]
    _, dropped = outcome(
        {name: value for name, value in request.params.items() if name != "dimensions"},
        False,
        EMBEDDING,
    )
    common: dict[str, Any] = {
        "model": request.model,
        "input_type": input_type,
        "truncate": truncate,
        "embedding_types": ["float"],
    }
    if (size := request.params.get("dimensions")) is not None:
        if size not in DIMENSIONS:
            sizes = ", ".join(str(each) for each in DIMENSIONS)
            raise gw.UnsupportedParameterError(
                f"Cohere's 'dimensions' are {sizes}.", param="dimensions"
            )
        common["output_dimension"] = size
    for name, value in request.extra.items():
        if name in OWN:
            common[name] = value
        else:
            dropped.append(name)
    pages = [texts[at : at + MAX_TEXTS] for at in range(0, len(texts), MAX_TEXTS)]
    return [{**common, "texts": page} for page in pages], tuple(dropped)


def ranking(request: gw.RerankRequest) -> tuple[dict[str, Any], tuple[str, ...]]:
    mapped, dropped = outcome(request.params, False, RANKING)
    body: dict[str, Any] = {"model": request.model, "query": request.query, **mapped}
    body["documents"] = request.documents
    if request.top_n is not None:
        body["top_n"] = request.top_n
    return body, tuple(dropped)


def _text(given: str | tuple[int, ...]) -> str:
    if not isinstance(given, str):
        raise gw.UnsupportedParameterError(
            "Cohere embeds texts; send 'input' as text, not as token ids.", param="input"
        )
    return given


class _Decoder:
    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> list[gw.Event]:
        self._pieces.append(data)
        return []

    def documents(self) -> list[dict[str, Any]]:
        """The bodies of all calls, one after the other."""
        found = [decoded(each) for each in b"".join(self._pieces).split(gw.BODY_SEPARATOR)]
        for each in found:
            if "message" in each:
                raise broken(words(each, "message"))
        return found


class EmbeddingsDecoder(_Decoder):
    """Vectors of one or several calls, numbered through; `wanted` says how many must come."""

    def __init__(self, wanted: int) -> None:
        super().__init__()
        self._wanted = wanted

    def finish(self) -> list[gw.Event]:
        documents = self.documents()
        vectors = [each for found in documents for each in _vectors(found)]
        if len(vectors) != self._wanted:
            raise gw.UpstreamTruncatedError("the answer lacks embeddings")
        events: list[gw.Event] = [
            gw.EmbeddingVector(index, values) for index, values in enumerate(vectors)
        ]
        return [*events, *usage(documents), gw.Finished("stop")]


class RankingDecoder(_Decoder):
    """Places of the documents in the vendor's order, best first."""

    def finish(self) -> list[gw.Event]:
        documents = self.documents()
        results = documents[0].get("results")
        if not isinstance(results, list):
            raise gw.UpstreamTruncatedError("the answer has no results")
        started = gw.Started(words(documents[0], "id") or None)
        return [started, *_places(results), *usage(documents), gw.Finished("stop")]


def _vectors(found: Mapping[str, Any]) -> Sequence[tuple[float, ...]]:
    given = member(found, "embeddings").get("float")
    if not isinstance(given, list):
        raise gw.UpstreamTruncatedError("the answer has no embeddings")
    try:
        return msgspec.convert(given, list[tuple[float, ...]])
    except msgspec.ValidationError as error:
        raise gw.UpstreamTruncatedError("an embedding is no list of numbers") from error


def _places(results: list[Any]) -> Iterator[gw.Event]:
    for each in rows(results):
        index, score = each.get("index"), each.get("relevance_score")
        if not isinstance(index, int) or not isinstance(score, (int, float)):
            raise gw.UpstreamTruncatedError("a result has no index or no score")
        yield gw.RankedDocument(index, float(score))


def usage(documents: Sequence[dict[str, Any]]) -> list[gw.Event]:
    """The sum over all calls."""
    found = [counted for each in documents if (counted := meters(member(each, "meta")))]
    if not found:
        return []
    return [
        gw.UsageReport(
            gw.Usage(
                input=sum(each.input for each in found),
                output=sum(each.output for each in found),
                search_units=sum(each.search_units for each in found),
            )
        )
    ]

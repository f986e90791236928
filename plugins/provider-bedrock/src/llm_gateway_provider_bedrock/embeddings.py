"""Embeddings through InvokeModel, in the form of each family of models."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import llm_gateway_api as gw
import msgspec

from llm_gateway_provider_bedrock.decoding import BodyDecoder, count

COHERE_BATCH = 96
CHARS_A_TOKEN = 4
PURPOSES = ("search_document", "search_query", "classification", "clustering")
TRUNCATE = ("NONE", "START", "END")


class Embedder(msgspec.Struct, frozen=True):
    """A family: how many texts one call takes, the dimensions to choose from, and its form."""

    batch: int
    dimensions: tuple[int, ...]
    body: Callable[[Sequence[str], Mapping[str, Any]], dict[str, Any]]
    decoder: Callable[[Sequence[str]], gw.DecoderFactory]


class TitanDecoder(BodyDecoder):
    def events(self, found: dict[str, Any]) -> list[gw.Event]:
        usage = gw.Usage(input=count(found.get("inputTextTokenCount")))
        return [vector(0, found["embedding"]), gw.UsageReport(usage), gw.Finished("stop")]


def titan_answer(texts: Sequence[str]) -> gw.DecoderFactory:
    return TitanDecoder


class CohereDecoder(BodyDecoder):
    """The vendor's count of tokens stands in a header only, so `estimate` takes its place."""

    def __init__(self, estimate: int) -> None:
        super().__init__()
        self._usage = gw.Usage(input=estimate, estimated=True)

    def events(self, found: dict[str, Any]) -> list[gw.Event]:
        rows = found["embeddings"]
        if isinstance(rows, dict):
            rows = rows["float"]
        vectors = [vector(index, row) for index, row in enumerate(rows)]
        return [*vectors, gw.UsageReport(self._usage), gw.Finished("stop")]


def cohere_answer(texts: Sequence[str]) -> gw.DecoderFactory:
    return partial(CohereDecoder, sum(len(text) // CHARS_A_TOKEN + 1 for text in texts))


def vector(index: int, values: Any) -> gw.Event:
    found = tuple(float(each) for each in values)
    if not found or not all(map(math.isfinite, found)):
        raise gw.UpstreamTruncatedError("the answer holds an empty vector")
    return gw.EmbeddingVector(index, found)


def titan(texts: Sequence[str], params: Mapping[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = {"inputText": texts[0]}
    return body | {key: params[key] for key in ("dimensions", "normalize") if key in params}


def titan_v1(texts: Sequence[str], params: Mapping[str, Any]) -> dict[str, Any]:
    return {"inputText": texts[0]}


def cohere(texts: Sequence[str], params: Mapping[str, Any]) -> dict[str, Any]:
    purpose = params.get("input_type", PURPOSES[0])
    body: dict[str, Any] = {"texts": list(texts), "input_type": purpose}
    return body | ({"truncate": params["truncate"]} if "truncate" in params else {})


def cohere_v4(texts: Sequence[str], params: Mapping[str, Any]) -> dict[str, Any]:
    body = cohere(texts, params) | {"embedding_types": ["float"]}
    return body | ({"output_dimension": params["dimensions"]} if "dimensions" in params else {})


EMBEDDERS: tuple[tuple[re.Pattern[str], Embedder], ...] = (
    (
        re.compile(r"amazon\.titan-embed-text-v2"),
        Embedder(1, (1024, 512, 256), titan, titan_answer),
    ),
    (
        re.compile(r"amazon\.titan-embed-(?:text-v1|g1-text)"),
        Embedder(1, (), titan_v1, titan_answer),
    ),
    (
        re.compile(r"cohere\.embed-(?:english|multilingual)-v3"),
        Embedder(COHERE_BATCH, (), cohere, cohere_answer),
    ),
    (
        re.compile(r"cohere\.embed-v4"),
        Embedder(COHERE_BATCH, (256, 512, 1024, 1536), cohere_v4, cohere_answer),
    ),
)


def embedder(base: str) -> Embedder:
    """Raises `UnsupportedParameterError` where the form of `base` is not known."""
    for pattern, found in EMBEDDERS:
        if pattern.match(base):
            return found
    raise gw.UnsupportedParameterError(
        "The model chosen makes no embeddings that are known here; "
        "use amazon.titan-embed-… or cohere.embed-….",
        param="model",
    )


def written(
    request: gw.EmbeddingsRequest, family: Embedder
) -> tuple[dict[str, Any], gw.DecoderFactory, tuple[str, ...]]:
    """The body of one call, the decoder of its answer, and what was left out.

    Raises:
        UnsupportedParameterError: token ids, too many texts for one call, or dimensions that
            the model does not make.
    """
    texts = [each for each in request.inputs if isinstance(each, str)]
    if len(texts) < len(request.inputs):
        raise gw.UnsupportedParameterError(
            "Bedrock embeds texts and no token ids; send strings.", param="input"
        )
    if len(texts) > family.batch:
        raise gw.UnsupportedParameterError(
            f"The model chosen embeds {family.batch} text(s) a call; send fewer.", param="input"
        )
    for at, text in enumerate(texts):
        if not text.strip():
            raise gw.UnsupportedParameterError("A text to embed is blank.", param=f"input[{at}]")
    given = {k: v for k, v in {**request.extra, **request.params}.items() if v is not None}
    check(given, family)
    taken = {"dimensions", "encoding_format", *_OWN[family.body]}
    dropped = tuple(name for name in given if name not in taken)
    return family.body(texts, given), family.decoder(texts), dropped


_OWN: Mapping[object, tuple[str, ...]] = {
    titan: ("normalize",),
    titan_v1: (),
    cohere: ("input_type", "truncate"),
    cohere_v4: ("input_type", "truncate"),
}


def check(given: Mapping[str, Any], family: Embedder) -> None:
    wanted = given.get("dimensions")
    if wanted is not None and wanted not in family.dimensions:
        able = ", ".join(map(str, family.dimensions)) or "none to choose"
        raise gw.UnsupportedParameterError(
            f"The model chosen makes vectors of other dimensions ({able}).", param="dimensions"
        )
    for name, words in (("input_type", PURPOSES), ("truncate", TRUNCATE)):
        if given.get(name) is not None and name in _OWN[family.body] and given[name] not in words:
            raise gw.UnsupportedParameterError(f"{name} is one of {', '.join(words)}.", param=name)

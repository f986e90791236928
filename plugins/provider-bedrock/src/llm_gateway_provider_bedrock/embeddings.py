"""Embeddings through InvokeModel, in the form of each family of models."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import llm_gateway_api as gw
import msgspec

from llm_gateway_provider_bedrock.decoding import checked, count, decoded

COHERE_BATCH = 96
CHARS_A_TOKEN = 4
PURPOSES = ("search_document", "search_query", "classification", "clustering")
TRUNCATE = ("NONE", "START", "END")


class Embedder(msgspec.Struct, frozen=True):
    """A family: how many texts one call takes, the dimensions to choose from, the
    parameters of its own, and the form of question and answer."""

    batch: int
    dimensions: tuple[int, ...]
    own: tuple[str, ...]
    body: Callable[[Sequence[str], Mapping[str, Any]], dict[str, Any]]
    rows: Callable[[Mapping[str, Any]], Sequence[Any]]


class EmbeddingsDecoder:
    """Reads the bodies of all calls of one request, in the order of its texts.

    Titan says its count of tokens; Cohere's stands in a header only, so `estimate` takes
    its place. A call that lacks an answer fails all: there is no part of an embedding.
    """

    def __init__(self, family: Embedder, texts: int, estimate: int) -> None:
        self._family = family
        self._texts = texts
        self._estimate = estimate
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> list[gw.Event]:
        self._pieces.append(data)
        return []

    def finish(self) -> list[gw.Event]:
        bodies = b"".join(self._pieces).split(gw.BODY_SEPARATOR)
        found = [checked(decoded(each)) for each in bodies]
        try:
            rows = [row for each in found for row in self._family.rows(each)]
            vectors = [vector(index, row) for index, row in enumerate(rows)]
        except (KeyError, TypeError, ValueError) as error:
            raise gw.UpstreamTruncatedError("the answer makes no sense") from error
        if len(vectors) != self._texts:
            raise gw.UpstreamTruncatedError("the answer has not one vector for each text")
        return [*vectors, gw.UsageReport(self._usage(found)), gw.Finished("stop")]

    def _usage(self, found: Sequence[Mapping[str, Any]]) -> gw.Usage:
        if all("inputTextTokenCount" in each for each in found):
            return gw.Usage(input=sum(count(each["inputTextTokenCount"]) for each in found))
        return gw.Usage(input=self._estimate, estimated=True)


def titan_rows(found: Mapping[str, Any]) -> Sequence[Any]:
    return [found["embedding"]]


def cohere_rows(found: Mapping[str, Any]) -> Sequence[Any]:
    rows: Any = found["embeddings"]
    return rows["float"] if isinstance(rows, dict) else rows  # type: ignore[no-any-return]  # checked by use


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


_OWN = ("input_type", "truncate")
EMBEDDERS: tuple[tuple[re.Pattern[str], Embedder], ...] = tuple(
    (re.compile(pattern), family)
    for pattern, family in (
        (
            r"amazon\.titan-embed-text-v2",
            Embedder(1, (1024, 512, 256), ("normalize",), titan, titan_rows),
        ),
        (
            r"amazon\.titan-embed-(?:text-v1|g1-text)",
            Embedder(1, (), (), titan_v1, titan_rows),
        ),
        (
            r"cohere\.embed-(?:english|multilingual)-v3",
            Embedder(COHERE_BATCH, (), _OWN, cohere, cohere_rows),
        ),
        (
            r"cohere\.embed-v4",
            Embedder(COHERE_BATCH, (256, 512, 1024, 1536), _OWN, cohere_v4, cohere_rows),
        ),
    )
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


class Written(msgspec.Struct, frozen=True):
    """One body for each call, the decoder of all their answers, and what was left out."""

    bodies: tuple[dict[str, Any], ...]
    decoder: gw.DecoderFactory
    dropped: tuple[str, ...]


def written(request: gw.EmbeddingsRequest, family: Embedder) -> Written:
    """The calls that `request` takes.

    Raises:
        UnsupportedParameterError: token ids, a blank text, or dimensions that the model
            does not make.
    """
    texts = [each for each in request.inputs if isinstance(each, str)]
    if len(texts) < len(request.inputs):
        raise gw.UnsupportedParameterError(
            "Bedrock embeds texts and no token ids; send strings.", param="input"
        )
    for at, text in enumerate(texts):
        if not text.strip():
            raise gw.UnsupportedParameterError("A text to embed is blank.", param=f"input[{at}]")
    given = {k: v for k, v in {**request.extra, **request.params}.items() if v is not None}
    check(given, family)
    taken = {"dimensions", "encoding_format", *family.own}
    groups = [texts[at : at + family.batch] for at in range(0, len(texts), family.batch)]
    estimate = sum(len(text) // CHARS_A_TOKEN + 1 for text in texts)
    return Written(
        tuple(family.body(group, given) for group in groups),
        partial(EmbeddingsDecoder, family, len(texts), estimate),
        tuple(name for name in given if name not in taken),
    )


def check(given: Mapping[str, Any], family: Embedder) -> None:
    wanted = given.get("dimensions")
    if wanted is not None and wanted not in family.dimensions:
        able = ", ".join(map(str, family.dimensions)) or "none to choose"
        raise gw.UnsupportedParameterError(
            f"The model chosen makes vectors of other dimensions ({able}).", param="dimensions"
        )
    for name, words in (("input_type", PURPOSES), ("truncate", TRUNCATE)):
        if name in family.own and given.get(name) is not None and given[name] not in words:
            raise gw.UnsupportedParameterError(f"{name} is one of {', '.join(words)}.", param=name)

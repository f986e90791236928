"""Texts to embed, in the three forms that the two platforms have."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import llm_gateway_api as gw

from llm_gateway_provider_gemini.decoding import EmbeddingsDecoder
from llm_gateway_provider_gemini.models import bare, embedding_family

MAX_INPUTS = {"batchEmbedContents": 100, "predict": 250}
BYTES_PER_TOKEN = 4
KNOWN = {"task_type": "taskType", "title": "title", "auto_truncate": "autoTruncate"}
IGNORED = frozenset({"encoding_format", "dimensions"})


class Asked(NamedTuple):
    operation: str
    body: dict[str, Any]
    decoder: gw.DecoderFactory
    dropped: tuple[str, ...]


def written(request: gw.EmbeddingsRequest, vertex: bool, normalise: bool) -> Asked:
    """One request object for each input: several in one content would be one vector."""
    texts = [_text(each, at) for at, each in enumerate(request.inputs)]
    family = embedding_family(request.model)
    dimensions = request.params.get("dimensions")
    options: dict[str, Any] = {}
    dropped: list[str] = []
    for name, value in {**request.params, **request.extra}.items():
        if name in KNOWN and value is not None:
            options[KNOWN[name]] = value
        elif name not in IGNORED and value is not None:
            dropped.append(name)
    if dimensions is not None:
        options["outputDimensionality"] = dimensions
    if not vertex:
        operation, body = "batchEmbedContents", _batch(request.model, texts, options)
    elif family.operation == "predict":
        operation, body = "predict", _predict(texts, options)
    elif len(texts) == 1:
        operation, body = "embedContent", _single(texts[0], options)
    else:
        operation = "batchEmbedContents"
        body = {"requests": [_single(each, options) for each in texts]}
    if len(texts) > MAX_INPUTS.get(operation, 1):
        raise gw.UnsupportedParameterError(
            f"This provider embeds at most {MAX_INPUTS[operation]} inputs at once.", param="input"
        )
    shortened = bool(family.whole) and dimensions is not None and dimensions != family.whole
    estimate = sum(len(each.encode()) for each in texts) // BYTES_PER_TOKEN + len(texts)

    def decoder() -> EmbeddingsDecoder:
        return EmbeddingsDecoder(len(texts), normalise and shortened, estimate)

    return Asked(operation, body, decoder, tuple(dropped))


def _text(value: str | tuple[int, ...], at: int) -> str:
    if isinstance(value, str):
        return value
    raise gw.UnsupportedParameterError(
        "This provider embeds texts, not token ids.", param=f"input[{at}]"
    )


def _content(text: str) -> dict[str, Any]:
    return {"role": "user", "parts": [{"text": text}]}


def _batch(model: str, texts: list[str], options: Mapping[str, Any]) -> dict[str, Any]:
    name = f"models/{bare(model)}"
    return {"requests": [{"model": name, "content": _content(each), **options} for each in texts]}


def _single(text: str, options: Mapping[str, Any]) -> dict[str, Any]:
    config = {"embedContentConfig": options} if options else {}
    return {"content": _content(text), **config}


def _predict(texts: list[str], options: Mapping[str, Any]) -> dict[str, Any]:
    task = {"task_type": options["taskType"]} if "taskType" in options else {}
    title = {"title": options["title"]} if "title" in options else {}
    rest = {key: options[key] for key in ("outputDimensionality", "autoTruncate") if key in options}
    body: dict[str, Any] = {"instances": [{"content": each, **task, **title} for each in texts]}
    if rest:
        body["parameters"] = rest
    return body

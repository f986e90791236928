"""Cohere v2's request and answer; errors in OpenAI's shape, as on every route but Anthropic's.

Source: Cohere's OpenAPI of /v2/rerank. ``return_documents`` of its v1, and documents given as
``{"text": …}``, are served too: the gateway has the texts.
"""

import re
import secrets
from collections.abc import Sequence
from typing import Any

import llm_gateway_api as gw
import msgspec

NAME = "cohere.rerank"
MAX_MODEL_CHARS = 256
_PLACE = re.compile(r"(.*) - at `\$(.*)`$")
_OWN = ("model", "query", "documents", "top_n", "stream")
_encode = msgspec.json.Encoder().encode


class _Text(msgspec.Struct, forbid_unknown_fields=True):
    text: str


def _read(fields: dict[str, msgspec.Raw] | Any, name: str, kind: Any, needed: bool = True) -> Any:
    """The member `name` as a value of `kind`; None where it is absent and not `needed`."""
    raw = fields.get(name)
    if raw is None:
        if needed:
            raise gw.MalformedBodyError(f"{name!r} is missing.", param=name)
        return None
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        said, place = str(error), name
        if found := _PLACE.match(said):
            said, place = found[1], name + found[2]
        text = f"{place!r} is not what it must be: {said}."
        raise gw.MalformedBodyError(text, param=place) from error


def _texts(fields: Any) -> tuple[str, ...]:
    """The documents; at least one."""
    given = _read(fields, "documents", list[str | _Text])
    if not given:
        raise gw.MalformedBodyError("'documents' must hold at least one text.", param="documents")
    return tuple(each if isinstance(each, str) else each.text for each in given)


class RerankFrontend:
    """Reads and writes rankings; keeps nothing."""

    def parse(self, body: bytes, arrival: gw.Arrival) -> gw.RequestHead:
        fields = gw.top_level(body)
        model = _read(fields, "model", str)
        if not 0 < len(model) <= MAX_MODEL_CHARS or not model.isprintable():
            raise gw.MalformedBodyError(
                f"'model' must be a name of 1 to {MAX_MODEL_CHARS} printable characters.",
                param="model",
            )
        if _read(fields, "stream", bool | None, needed=False):
            raise gw.MalformedBodyError("A ranking is not streamed; leave it out.", param="stream")
        for name in ("query", "documents"):
            if name not in fields:
                raise gw.MalformedBodyError(f"{name!r} is missing.", param=name)
        return gw.RequestHead(NAME, "rerank", model, False, False, fields, body)

    def request(self, head: gw.RequestHead) -> gw.RerankRequest:
        fields = head.fields
        top_n = _read(fields, "top_n", int | None, needed=False)
        if top_n is not None and top_n < 1:
            raise gw.MalformedBodyError("'top_n' must be at least 1.", param="top_n")
        _read(fields, "return_documents", bool | None, needed=False)
        params = {name: _read(fields, name, Any) for name in fields if name not in _OWN}
        query = _read(fields, "query", str)
        return gw.RerankRequest(head.model, query, _texts(fields), top_n, params, NAME)

    def renderer(self, head: gw.RequestHead) -> gw.Renderer:
        return RankingRenderer(head)

    def error(self, error: gw.GatewayError, request_id: str) -> bytes:
        inner = {"type": error.type, "param": error.param, "code": error.code}
        return _encode({"error": {"message": error.message, **inner}})

    def error_frame(self, error: gw.GatewayError, request_id: str) -> bytes:
        return gw.frame(self.error(error, request_id))

    def keep_alive(self) -> bytes:
        return gw.comment()


_: type[gw.Frontend] = RerankFrontend  # the type checker proves the contract


class RankingRenderer:
    """Collects the places and writes them at the end, in the provider's order."""

    def __init__(self, head: gw.RequestHead) -> None:
        wanted = _read(head.fields, "return_documents", bool | None, needed=False)
        self._texts = _texts(head.fields) if wanted else None
        self._id: str | None = None
        self._results: list[dict[str, Any]] = []
        self._usage = gw.Usage()

    def render(self, events: Sequence[gw.Event]) -> bytes:
        for event in events:
            if isinstance(event, gw.RankedDocument):
                self._results.append(self._result(event))
            elif isinstance(event, gw.UsageReport):
                self._usage = event.usage
            elif isinstance(event, gw.Started):
                self._id = self._id or event.id
        return b""

    def finish(self) -> bytes:
        meta: dict[str, Any] = {"api_version": {"version": "2"}}
        if units := self._usage.search_units:
            meta["billed_units"] = {"search_units": units}
        if tokens := self._usage.input_total:
            meta["tokens"] = {"input_tokens": tokens, "output_tokens": self._usage.output_total}
        made = self._id or f"rerank-{secrets.token_hex(12)}"
        return _encode({"id": made, "results": self._results, "meta": meta})

    def _result(self, event: gw.RankedDocument) -> dict[str, Any]:
        result: dict[str, Any] = {"index": event.index, "relevance_score": event.score}
        if self._texts is not None:
            if not 0 <= event.index < len(self._texts):
                raise gw.UpstreamTruncatedError("the provider ranked a document that is not there")
            result["document"] = {"text": self._texts[event.index]}
        return result

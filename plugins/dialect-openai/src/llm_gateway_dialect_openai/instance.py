"""A provider of the dialect, to be configured by a thin subclass.

What a subclass may set or override stands at the top of `DialectProvider`; everything
else follows from it.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Generic, TypeVar

import llm_gateway_api as gw
import msgspec

from llm_gateway_dialect_openai import usage
from llm_gateway_dialect_openai.bridge import DIALECT as RESPONSES
from llm_gateway_dialect_openai.bridge import PATH, Bridge
from llm_gateway_dialect_openai.decoding import ChatBodyDecoder, ChatStreamDecoder
from llm_gateway_dialect_openai.embeddings import NAMES, EmbeddingsDecoder
from llm_gateway_dialect_openai.errors import ErrorRules
from llm_gateway_dialect_openai.listing import page
from llm_gateway_dialect_openai.mending import undisclosed
from llm_gateway_dialect_openai.needs import reasons
from llm_gateway_dialect_openai.parameters import Rules
from llm_gateway_dialect_openai.quirks import Quirks
from llm_gateway_dialect_openai.reading import Reading, WholeDecoder
from llm_gateway_dialect_openai.responses import ResponsesBodyDecoder, ResponsesStreamDecoder
from llm_gateway_dialect_openai.responses_tee import ResponsesStreamTee, ResponsesWholeTee
from llm_gateway_dialect_openai.settings import DialectSettings
from llm_gateway_dialect_openai.tee import StreamTee, WholeTee
from llm_gateway_dialect_openai.writing import Writer

S = TypeVar("S", bound=DialectSettings)
CHAT = "openai.chat"
PACKED = b'"' + gw.MARK.encode()


class DialectProvider(Generic[S]):
    """Speaks OpenAI's chat dialect. Opens no connection, keeps no state of a request.

    `quirks` are the vendor's (an operator's settings go over them), `errors` its own
    meanings of codes, statuses and words, `catalogue` the models known of it (an
    operator's list replaces it), `paths` the client dialects that may pass as bytes.
    """

    quirks: Quirks = Quirks()
    errors: ErrorRules = ErrorRules()
    catalogue: ClassVar[Sequence[gw.ModelInfo]] = ()
    paths: ClassVar[Mapping[str, str]] = {CHAT: "/chat/completions"}

    def base(self) -> str:
        """The API's base; asked once."""
        return str(self.settings.base_url).rstrip("/")

    def url(self, path: str, model: str) -> str:
        """Where requests for `model` go; `path` is one of ``/chat/completions``, …"""
        return self._base + path

    def headers(self) -> dict[str, str]:
        """The headers of every call, the credential among them; asked once."""
        key = self.settings.api_key.get_secret_value()
        return {"authorization": f"Bearer {key}"} if key else {}

    def meters(self, found: Mapping[str, Any]) -> gw.Usage:
        """The vendor's usage object as disjoint meters."""
        return usage.meters(found)

    def logprobs(self, given: Any, text: str) -> object:
        """The log probabilities of `text` in OpenAI's form; `given` may be None."""
        return given

    def check(self, request: gw.ChatRequest) -> None:
        """Refuse what the vendor cannot take together; raise `UnsupportedParameterError`."""

    def shaped(self, body: dict[str, Any], request: gw.ChatRequest) -> dict[str, Any]:
        """The last change to a body before it is written."""
        return body

    def bridged(self, model: str, function_tools: bool, effort: object) -> bool:
        """Whether chat refuses what /responses answers; asked where the bridge is on."""
        return False

    def bridges(self) -> bool:
        """Whether the bridge is on where the settings do not say it; asked once."""
        return False

    def __init__(self, name: str, settings: S) -> None:
        self.name = name
        self.settings = settings
        self.quirks = type(self).quirks.overlaid(settings.quirks)
        self._base = self.base()
        self._headers = {"content-type": "application/json", **self.headers()}
        self._rules = Rules(self.quirks)
        self._reading = Reading(
            self.errors,
            self.meters,
            tuple(self.quirks.reasoning_in),
            self.quirks.keep_unknown,
            self.logprobs,
        )
        self._whole = partial(WholeDecoder, self._reading)
        wanted = self.quirks.responses_bridge
        self._bridge = self.bridges() if wanted is None else wanted
        self._relays = frozenset(self.paths) if self.quirks.transparent else frozenset[str]()
        if not self._bridge:
            self._relays -= {RESPONSES}  # a server that is not known to have it
        self._models = tuple(listed(settings)) or tuple(self.catalogue)

    def models(self) -> Sequence[gw.ModelInfo]:
        return self._models

    def classify(self, status: int, headers: gw.Headers, body: bytes) -> gw.UpstreamError:
        return self.errors.refused(status, headers, body)

    def again(self, refused: gw.RefusedCall) -> gw.UpstreamRequest | None:
        return undisclosed(refused)

    def encode(self, request: gw.ChatRequest) -> gw.UpstreamRequest:
        self.check(request)
        stream = request.stream
        if self._bridge and (request.dialect == RESPONSES or self._demands(request)):
            # Of the chat requests only those to models that reason come here.
            bridge = Bridge(request.dialect, request.dialect != RESPONSES or reasons(request.model))
            body = self.shaped(bridge.encode(request), request)
            decoder = ResponsesStreamDecoder if stream else ResponsesBodyDecoder
            return self._post(PATH, request.model, body, decoder, stream, bridge.dropped)
        writer = Writer(self.quirks, self._rules, request.dialect)
        body = self.shaped(writer.chat(request), request)
        chat = ChatStreamDecoder if stream else ChatBodyDecoder
        return self._post("/chat/completions", request.model, body, chat, stream, writer.dropped)

    def probe(self) -> gw.UpstreamRequest:
        url = self.url("/models", "")
        return gw.UpstreamRequest("GET", url, self._headers, b"", self._whole)

    def list_models(self, after: str | None) -> gw.UpstreamRequest:
        return self.probe()

    def listed(self, body: bytes) -> gw.ModelPage:
        return page(body)

    def relays(self, dialect: str) -> bool:
        return dialect in self._relays

    def splice(self, head: gw.RequestHead, model: str) -> gw.UpstreamRequest | None:
        if self._bridge and head.dialect == CHAT and self._head_demands(head, model):
            return None
        changes: dict[str, Any] = {}
        if model != head.model:
            changes["model"] = model
        if head.dialect == RESPONSES:
            if PACKED in head.body:
                return None  # reasoning that was wrapped for the way is unwrapped on the other lane
            changes |= self._unstored(head, model)
        elif head.stream and not head.include_usage and self.quirks.stream_usage:
            given = head.fields.get("stream_options")
            options = msgspec.json.decode(given) if given is not None else None
            changes["stream_options"] = {**(options or {}), "include_usage": True}
        body = gw.replaced(head.fields, **changes) if changes else head.body
        url = self.url(self.paths[head.dialect], model)
        return gw.UpstreamRequest("POST", url, self._headers, body, self._whole, head.stream)

    def _unstored(self, head: gw.RequestHead, model: str) -> dict[str, Any]:
        """The API stores where nothing is said. A client that relies on that sends reasoning
        back by its id, which means nothing then: its content has to come along."""
        changes: dict[str, Any] = {}
        if _member(head, "store") is not False:
            changes["store"] = False
            if _member(head, "include") is None and reasons(model):
                changes["include"] = ["reasoning.encrypted_content"]
        return changes

    def tee(self, head: gw.RequestHead, model: str) -> gw.Lane:
        if head.dialect == RESPONSES:
            native = ResponsesStreamTee if head.stream else ResponsesWholeTee
            return native(head, model, self._reading)
        kind = StreamTee if head.stream else WholeTee
        return kind(head, model, self._reading, self.quirks.finish_fix)

    def _post(
        self,
        path: str,
        model: str,
        body: Mapping[str, Any],
        decoder: Any,
        stream: bool = False,
        dropped: tuple[str, ...] = (),
    ) -> gw.UpstreamRequest:
        return gw.UpstreamRequest(
            "POST",
            self.url(path, model),
            self._headers,
            msgspec.json.encode(body),
            partial(decoder, self._reading),
            stream,
            dropped,
        )

    def _demands(self, request: gw.ChatRequest) -> bool:
        functions = any(each.kind == "function" for each in request.tools or ())
        return self.bridged(request.model, functions, request.params.get("reasoning_effort"))

    def _head_demands(self, head: gw.RequestHead, model: str) -> bool:
        """`_demands` of a body that is not decoded; what cannot be read is the vendor's."""
        if not self.bridged(model, True, "max"):
            return False  # this model is never bridged: nothing needs decoding
        tools, effort = _member(head, "tools"), _member(head, "reasoning_effort")
        functions = bool(_member(head, "functions")) or any(
            isinstance(each, dict) and each.get("type", "function") == "function"
            for each in (tools if isinstance(tools, list) else ())
        )
        return self.bridged(model, functions, effort)


class WithEmbeddings(DialectProvider[S]):
    """A vendor that has ``/embeddings`` too."""

    paths: ClassVar[Mapping[str, str]] = {
        CHAT: "/chat/completions",
        "openai.embeddings": "/embeddings",
    }

    def encode_embeddings(self, request: gw.EmbeddingsRequest) -> gw.UpstreamRequest:
        own = request.dialect.startswith("openai.")
        params = {name: value for name, value in request.params.items() if name in NAMES}
        body = {"model": request.model, "input": request.inputs, **params}
        left = [name for name in request.params if name not in NAMES]
        if own:
            body |= request.extra
        else:
            left += request.extra
        return self._post(
            "/embeddings", request.model, body, EmbeddingsDecoder, dropped=tuple(left)
        )


def listed(settings: gw.ProviderSettings) -> Sequence[gw.ModelInfo]:
    """The models that an operator listed."""
    rows = [
        each if isinstance(each, gw.ModelEntry) else gw.ModelEntry(id=each)
        for each in settings.models
    ]
    return [
        gw.ModelInfo(each.id, each.context_window, each.max_output, frozenset(each.capabilities))
        for each in rows
    ]


def _member(head: gw.RequestHead, name: str) -> Any:
    raw = head.fields.get(name)
    try:
        return None if raw is None else msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return None

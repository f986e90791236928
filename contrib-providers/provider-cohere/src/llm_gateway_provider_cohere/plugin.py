"""Declares the kind ``cohere``: the vendor's native v2 API."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal
from urllib.parse import urlencode

import llm_gateway_api as gw
import msgspec
from pydantic import Field, HttpUrl, SecretStr

from llm_gateway_provider_cohere import decoding, errors, lists, models, params, tools
from llm_gateway_provider_cohere.messages import History

BASE_URL = "https://api.cohere.com"
Effort = Literal["minimal", "low", "medium", "high", "xhigh", "max"]


class Settings(gw.ProviderSettings):
    """Settings under ``providers.<name>``, beside those that every provider has."""

    required: ClassVar[tuple[str, ...]] = ("api_key",)

    api_key: SecretStr = Field(description="the key")
    base_url: HttpUrl = Field(default=HttpUrl(BASE_URL), description="base of the API")
    tool_plan: Literal["reasoning", "text"] = Field(
        default="reasoning", description="how the plan that comes before tool calls is shown"
    )
    late_system: Literal["merge", "user"] = Field(
        default="merge",
        description="a system message in mid talk: merged into the first, or sent as the user's",
    )
    clamp: bool = Field(
        default=False, description="bring numbers out of range to its end instead of a 400"
    )
    thinking_tokens: dict[Effort, int] = Field(
        default_factory=dict, description="token budget of thinking for each reasoning_effort"
    )
    input_type: str = Field(
        default="search_document",
        description="what embeddings are for, where a request says nothing",
    )
    truncate: Literal["NONE", "START", "END"] = Field(
        default="NONE", description="what happens to a text that is too long to embed; NONE: 400"
    )


class CohereProvider:
    """Speaks Cohere's formats. Opens no connection, keeps no state of a request."""

    def __init__(self, name: str, settings: Settings) -> None:
        self._settings = settings
        self._base = str(settings.base_url).rstrip("/")
        self._headers = {
            "authorization": f"Bearer {settings.api_key.get_secret_value()}",
            "content-type": "application/json",
        }
        self._models: Mapping[str, gw.ModelInfo] = models.served(settings)

    def models(self) -> Sequence[gw.ModelInfo]:
        return tuple(self._models.values())

    def classify(self, status: int, headers: gw.Headers, body: bytes) -> gw.UpstreamError:
        return errors.refused(status, headers, body)

    def encode(self, request: gw.ChatRequest) -> gw.UpstreamRequest:
        names = tools.names(request)
        reasons = models.reasons(request.model, self._models)
        history = History(names, reasons, self._settings.late_system)
        body: dict[str, Any] = {"model": request.model, "stream": request.stream}
        body["messages"] = history.written(request.messages)
        members, dropped = tools.tools(request, names)
        tuning, left = self._tuning(request, reasons)
        body |= members | tuning
        if "tools" in body and body.get("response_format", {}).get("type") == "json_object":
            raise gw.UnsupportedParameterError(
                "Cohere gives structured output or calls tools, not both; leave one out.",
                param="response_format",
            )
        reading = partial(
            decoding.Reading, request.model, names, self._settings.tool_plan == "text"
        )
        decoder = decoding.StreamDecoder if request.stream else decoding.BodyDecoder
        beside = gw.unnamed(request, turns=("citations",))
        dropped = [*dict.fromkeys((*dropped, *left, *history.dropped, *beside))]
        return self._post("/v2/chat", body, partial(decoder, reading), request.stream, dropped)

    def _tuning(self, request: gw.ChatRequest, reasons: bool) -> tuple[dict[str, Any], list[str]]:
        """Parameters and the vendor's own members. Only models that reason take ``thinking``."""
        given = {**request.params}
        effort = given.pop("reasoning_effort", None)
        mapped, dropped = params.outcome(given, self._settings.clamp)
        own = params.OWN if request.dialect in ("", decoding.EXTENSION) else frozenset()
        for name, value in request.extra.items():
            if name in own and value is not None:
                mapped[name] = value
            elif name in params.OUTCOMES and name not in given:
                more, left = params.outcome({name: value}, self._settings.clamp)
                mapped |= more
                dropped += left
            else:
                dropped.append(name)
        if effort is not None and "thinking" not in mapped:
            if reasons:
                mapped["thinking"] = self._thinking(effort)
            else:
                dropped.append("reasoning_effort")
        return mapped, dropped

    def _thinking(self, effort: Any) -> dict[str, Any]:
        if effort == "none":
            return {"type": "disabled"}
        budget = self._settings.thinking_tokens.get(effort)
        return {"type": "enabled", **({} if budget is None else {"token_budget": budget})}

    def encode_embeddings(self, request: gw.EmbeddingsRequest) -> gw.UpstreamRequest:
        settings = self._settings
        bodies, dropped = lists.embedding(request, settings.input_type, settings.truncate)
        decoder = partial(lists.EmbeddingsDecoder, len(request.inputs))
        first, *rest = (self._post("/v2/embed", body, decoder, False, dropped) for body in bodies)
        return msgspec.structs.replace(first, then=tuple(rest))

    def encode_rerank(self, request: gw.RerankRequest) -> gw.UpstreamRequest:
        body, dropped = lists.ranking(request)
        return self._post("/v2/rerank", body, lists.RankingDecoder, False, dropped)

    def probe(self) -> gw.UpstreamRequest:
        return gw.UpstreamRequest(
            "GET",
            f"{self._base}/v1/models?page_size=1",
            self._headers,
            b"",
            lists.RankingDecoder,
        )

    def list_models(self, after: str | None) -> gw.UpstreamRequest:
        query = {"page_size": "1000", **({"page_token": after} if after else {})}
        url = f"{self._base}/v1/models?{urlencode(query)}"
        return gw.UpstreamRequest("GET", url, self._headers, b"", lists.RankingDecoder)

    def listed(self, body: bytes) -> gw.ModelPage:
        return models.page(body)

    def _post(
        self,
        path: str,
        body: dict[str, Any],
        decoder: gw.DecoderFactory,
        stream: bool,
        dropped: Sequence[str],
    ) -> gw.UpstreamRequest:
        return gw.UpstreamRequest(
            "POST",
            self._base + path,
            self._headers,
            msgspec.json.encode(body),
            decoder,
            stream,
            tuple(dropped),
        )


_: type[gw.Provider] = CohereProvider  # the type checker proves the contract


def make(name: str, settings: Settings) -> gw.Provider:
    return CohereProvider(name, settings)


@gw.hookimpl
def llm_gateway_providers() -> Sequence[gw.ProviderSpec]:
    return [
        gw.ProviderSpec(
            "cohere",
            Settings,
            make,
            env="COHERE_API_KEY",
            environment={"api_key": "COHERE_API_KEY"},
            surfaces=frozenset(
                {
                    "chat",
                    "embeddings",
                    "json_schema",
                    "reasoning",
                    "rerank",
                    "streaming",
                    "tools",
                    "vision",
                }
            ),
        )
    ]

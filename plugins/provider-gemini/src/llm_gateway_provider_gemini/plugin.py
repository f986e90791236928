"""Declares the kind ``gemini``: AI Studio with a key, or Vertex AI with a service account."""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self
from urllib.parse import urlencode

import llm_gateway_api as gw
import msgspec
from pydantic import Field, HttpUrl, SecretStr, model_validator

from llm_gateway_provider_gemini import embeddings
from llm_gateway_provider_gemini.decoding import (
    BodyDecoder,
    CountDecoder,
    GenerateDecoder,
    ListDecoder,
)
from llm_gateway_provider_gemini.errors import refused
from llm_gateway_provider_gemini.media import Media, fetched
from llm_gateway_provider_gemini.mending import unsigned
from llm_gateway_provider_gemini.models import KNOWN, Family, bare, family, page
from llm_gateway_provider_gemini.tools import public_names
from llm_gateway_provider_gemini.writing import Writing

if TYPE_CHECKING:
    from llm_gateway_provider_gemini.credentials import Credentials

BASE_URL = "https://generativelanguage.googleapis.com"
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]{0,127}")
SEGMENT = r"^[A-Za-z0-9][A-Za-z0-9:._\-]*$"
VERTEX_HOSTS = {
    "global": "https://aiplatform.googleapis.com",
    "us": "https://aiplatform.us.rep.googleapis.com",
    "eu": "https://aiplatform.eu.rep.googleapis.com",
}


class Settings(gw.ProviderSettings):
    """Settings under ``providers.<name>``, beside those that every provider has."""

    required: ClassVar[tuple[str, ...]] = ("api_key|project",)

    api_key: SecretStr | None = Field(default=None, description="the key of AI Studio")
    project: str | None = Field(
        default=None, pattern=SEGMENT, description="project of Vertex AI, instead of a key"
    )
    location: str = Field(
        default="global",
        pattern=r"^[a-z0-9\-]+$",
        description="location of Vertex AI: a region, global, us or eu",
    )
    credentials_file: Path | None = Field(
        default=None, description="JSON file of a service account (or of an authorized user)"
    )
    quota_project: str | None = Field(
        default=None, pattern=SEGMENT, description="project that Vertex AI counts quota for"
    )
    base_url: HttpUrl | None = Field(
        default=None, description="base of the API; the vendor's own host if absent"
    )
    api_version: str | None = Field(
        default=None,
        pattern=r"^v[0-9a-z]+$",
        description="version of the API; v1beta (AI Studio) or v1beta1 (Vertex AI) if absent",
    )
    remote_media: Literal["inline", "passthrough"] = Field(
        default="inline",
        description="inline: the gateway fetches pictures; passthrough: the vendor does",
    )
    max_inline_bytes: int = Field(
        default=20_000_000, ge=1, description="bytes of media in one request"
    )
    normalise_embeddings: bool = Field(
        default=True, description="bring shortened vectors to unit length"
    )
    token_timeout_seconds: gw.Seconds = Field(
        default=10.0, description="seconds for the exchange of a credential for a token"
    )

    @model_validator(mode="after")
    def _one_platform(self) -> Self:
        key = self.api_key is not None and bool(self.api_key.get_secret_value())
        if key and self.project:
            raise ValueError("give either api_key (AI Studio) or project (Vertex AI), not both")
        if self.project and self.credentials_file is None:
            raise ValueError("project (Vertex AI) needs credentials_file")
        return self


class GeminiProvider:
    """Speaks the vendor's formats. Opens no connection, keeps no state of a request."""

    def __init__(self, name: str, settings: Settings, credentials: "Credentials | None") -> None:
        self._name = name
        self._settings = settings
        self._vertex = settings.project is not None
        self._credentials = credentials
        self._headers = {"content-type": "application/json"}
        if not self._vertex and settings.api_key is not None:
            self._headers["x-goog-api-key"] = settings.api_key.get_secret_value()
        if self._vertex and settings.quota_project:
            self._headers["x-goog-user-project"] = settings.quota_project
        self._base = base(settings)
        self._more = {
            each.id: frozenset(each.capabilities)
            for each in settings.models
            if not isinstance(each, str)
        }
        self._models = tuple(info(each) for each in settings.models) or KNOWN
        self._family = lru_cache(256)(self._told)
        self._url = lru_cache(256)(self._address)

    def models(self) -> Sequence[gw.ModelInfo]:
        return self._models

    def classify(self, status: int, headers: gw.Headers, body: bytes) -> gw.UpstreamError:
        return refused(status, headers, body)

    def again(self, refused: gw.RefusedCall) -> gw.UpstreamRequest | None:
        return unsigned(refused)

    def encode(self, request: gw.ChatRequest) -> gw.UpstreamRequest:
        writing = self._written(request)
        names, dialect, stream = public_names(request.tools), request.dialect, request.stream
        maker = self._maker(request.model)
        if stream or self._cut(request):
            operation = "streamGenerateContent?alt=sse"
            decoder: gw.DecoderFactory = partial(GenerateDecoder, dialect, names, stream, maker)
        else:
            operation = "generateContent"
            decoder = partial(BodyDecoder, dialect, names, maker)
        url = self._url(request.model, operation)
        body = msgspec.json.encode(writing.body)
        return gw.UpstreamRequest(
            "POST", url, self._headers, body, decoder, stream, writing.dropped
        )

    def _cut(self, request: gw.ChatRequest) -> bool:
        """Whether an answer in one piece could be shorter than what was asked for."""
        whole, asked = self._family(request.model).whole, request.params.get("max_tokens")
        return whole is not None and not (isinstance(asked, int) and asked <= whole)

    def encode_count(self, request: gw.ChatRequest) -> gw.UpstreamRequest:
        body = self._written(request).body
        if self._vertex:
            counted = ("systemInstruction", "tools", "generationConfig", "contents")
            body = {name: body[name] for name in counted if name in body}
        else:
            body = {"generateContentRequest": {"model": f"models/{bare(request.model)}", **body}}
        url = self._url(request.model, "countTokens")
        return gw.UpstreamRequest(
            "POST", url, self._headers, msgspec.json.encode(body), CountDecoder
        )

    def encode_embeddings(self, request: gw.EmbeddingsRequest) -> gw.UpstreamRequest:
        asked = embeddings.written(request, self._vertex, self._settings.normalise_embeddings)
        url = self._url(request.model, asked.operation)
        body = msgspec.json.encode(asked.body)
        return gw.UpstreamRequest(
            "POST", url, self._headers, body, asked.decoder, False, asked.dropped
        )

    def inlines(self, kind: str, url: str) -> bool:
        return fetched(url, self._settings.remote_media)

    def probe(self) -> gw.UpstreamRequest:
        host, version, _ = self._base
        path = (
            f"publishers/google/models/{bare(self._models[0].id)}"
            if self._vertex
            else ("models?pageSize=1")
        )
        url = f"{host}/{version}/{path}"
        return gw.UpstreamRequest("GET", url, self._headers, b"", ListDecoder)

    def list_models(self, after: str | None) -> gw.UpstreamRequest:
        host, version, _ = self._base
        query = urlencode({"pageSize": "1000", **({"pageToken": after} if after else {})})
        folder = "publishers/google/models" if self._vertex else "models"
        url = f"{host}/{version}/{folder}?{query}"
        return gw.UpstreamRequest("GET", url, self._headers, b"", ListDecoder)

    def listed(self, body: bytes) -> gw.ModelPage:
        return page(body)

    def _written(self, request: gw.ChatRequest) -> Writing:
        settings = self._settings
        maker = self._maker(request.model)
        writing = Writing(request, self._family(request.model), self._vertex, maker)
        writing.write(Media(settings.remote_media, settings.max_inline_bytes))
        return writing

    def _maker(self, model: str) -> str:
        """Who signs: another model or platform refuses the signatures of this one."""
        return f"{self._name}/{model}"

    def _told(self, model: str) -> Family:
        """What the table says, and what the operator says of a model in ``models``."""
        found = family(model)
        more = self._more.get(model, frozenset())
        return found._replace(
            sampling=found.sampling or "sampling" in more,
            penalties=found.penalties or "penalties" in more,
            logprobs=found.logprobs or "logprobs" in more,
        )

    def _address(self, model: str, operation: str) -> str:
        host, version, folder = self._base
        return f"{host}/{version}/{folder}{named(model)}:{operation}"


class VertexProvider(GeminiProvider):
    """The same with a token, which only this platform wants."""

    async def auth_headers(self) -> gw.Headers:
        assert self._credentials is not None
        return await self._credentials.headers()

    def again(self, refused: gw.RefusedCall) -> gw.UpstreamRequest | None:
        """A token that was revoked before its time is replaced."""
        assert self._credentials is not None
        if refused.status == 401 and self._credentials.replaced(refused.sent):
            return refused.request
        return super().again(refused)


def base(settings: Settings) -> tuple[str, str, str]:
    """Host, version, and the folder of the models."""
    given = str(settings.base_url).rstrip("/") if settings.base_url else None
    if settings.project is None:
        return given or BASE_URL, settings.api_version or "v1beta", "models/"
    at = settings.location
    host = given or VERTEX_HOSTS.get(at, f"https://{at}-aiplatform.googleapis.com")
    folder = f"projects/{settings.project}/locations/{at}/publishers/google/models/"
    return host, settings.api_version or "v1beta1", folder


def named(model: str) -> str:
    """The model as part of a path; a client may write any name."""
    name = bare(model)
    if not MODEL_NAME.fullmatch(name):
        raise gw.ModelNotFoundError(f"This provider has no model {model[:80]!r}.", param="model")
    return name


def info(entry: Any) -> gw.ModelInfo:
    """A configured model; what it does not say is taken from the table."""
    name = entry if isinstance(entry, str) else entry.id
    known = next((each for each in KNOWN if each.id == bare(name)), gw.ModelInfo(name))
    if isinstance(entry, str):
        return gw.ModelInfo(
            name, known.context_window, known.max_output, known.capabilities,
            known.input_price, known.output_price,
        )  # fmt: skip
    return gw.ModelInfo(
        name,
        entry.context_window or known.context_window,
        entry.max_output or known.max_output,
        known.capabilities | frozenset(entry.capabilities),
        known.input_price,
        known.output_price,
    )


def make(name: str, settings: Settings, fetch: gw.Fetch, clock: Callable[[], float]) -> gw.Provider:
    if settings.project is None:
        return GeminiProvider(name, settings, None)
    from llm_gateway_provider_gemini.credentials import Credentials  # brings cryptography

    assert settings.credentials_file is not None
    credentials = Credentials(
        fetch, clock, settings.credentials_file, settings.token_timeout_seconds
    )
    return VertexProvider(name, settings, credentials)


@gw.hookimpl
def llm_gateway_providers() -> Sequence[gw.ProviderSpec]:
    return [
        gw.ProviderSpec(
            "gemini",
            Settings,
            make,
            env="GEMINI_API_KEY",
            environment={"api_key": "GEMINI_API_KEY"},
            surfaces=frozenset(
                {
                    "chat",
                    "count_tokens",
                    "embeddings",
                    "json_schema",
                    "reasoning",
                    "streaming",
                    "tools",
                    "vision",
                }
            ),
            needs=("fetch", "clock"),
        )
    ]

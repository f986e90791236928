"""Declares the kind ``bedrock``: Converse, ConverseStream, CountTokens, InvokeModel."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial

import llm_gateway_api as gw
import msgspec

from llm_gateway_provider_bedrock import decoding, embeddings, errors, request
from llm_gateway_provider_bedrock.credentials import CredentialStore
from llm_gateway_provider_bedrock.families import (
    MAX_MODELS,
    base_model,
    family_of,
    region_of,
    segment,
)
from llm_gateway_provider_bedrock.mending import unreasoned
from llm_gateway_provider_bedrock.models import KNOWN, page
from llm_gateway_provider_bedrock.settings import (
    Settings,
    api_key_of,
    process_environment,
    resolver_of,
)
from llm_gateway_provider_bedrock.settings import region_of as configured_region
from llm_gateway_provider_bedrock.signing import Signer

JSON = "application/json"
OPERATIONS: Mapping[bool, tuple[str, Callable[[str | None], gw.Decoder]]] = {
    False: ("converse", decoding.ConverseDecoder),
    True: ("converse-stream", decoding.StreamDecoder),
}
# Families that are known to go on with a last turn of the assistant.
CONTINUES = frozenset({"claude", "nova"})
THINKING = ("thinking", "reasoning_effort")
NOT_THINKING: tuple[object, ...] = (None, "none", {"type": "disabled"})


class BedrockProvider:
    """Speaks Bedrock's formats. Its state is the credentials and the vendor's clock."""

    def __init__(self, name: str, settings: Settings) -> None:
        environ = process_environment()
        self.region = region = configured_region(settings, environ)
        domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        self._base = _base(settings.base_url, f"https://bedrock-runtime.{region}.{domain}")
        self._control = _base(settings.control_url, f"https://bedrock.{region}.{domain}")
        self._settings = settings
        self._headers = {"content-type": JSON, "accept": JSON}
        self._signer: Signer | None = None
        self._store: CredentialStore | None = None
        if (key := api_key_of(settings, environ)) is not None:
            self._headers["authorization"] = f"Bearer {key}"
        else:
            self._signer = Signer(region)
            self._store = CredentialStore(resolver_of(settings, environ, region))
        self._manners = {stream: _manners(settings, stream) for stream in (False, True)}
        self._place = lru_cache(MAX_MODELS)(self._addressed)
        self._models = tuple(map(_info, settings.models)) or KNOWN

    def models(self) -> Sequence[gw.ModelInfo]:
        return self._models

    def encode(self, request_: gw.ChatRequest) -> gw.UpstreamRequest:
        written = self._written(request_)
        kind, decoder = OPERATIONS[request_.stream]
        factory = partial(decoder, written.answer)
        return self._post(
            request_.model, kind, written.body, factory, request_.stream, written.dropped
        )

    def encode_count(self, request_: gw.ChatRequest) -> gw.UpstreamRequest:
        body = request.counting(self._written(request_).body)
        return self._post(request_.model, "count-tokens", body, decoding.CountDecoder)

    def encode_embeddings(self, request_: gw.EmbeddingsRequest) -> gw.UpstreamRequest:
        family = embeddings.embedder(base_model(request_.model, self._settings.base_models))
        written = embeddings.written(request_, family)
        first, *more = (
            self._post(request_.model, "invoke", body, written.decoder) for body in written.bodies
        )
        return msgspec.structs.replace(first, dropped=written.dropped, then=tuple(more))

    def prefill(self, request_: gw.ChatRequest) -> gw.Prefill | None:
        """Claude of 4.5 and before and Nova go on with a text, unless they think."""
        family = family_of(base_model(request_.model, self._settings.base_models))
        thinks = any(request_.params.get(name) not in NOT_THINKING for name in THINKING)
        continues = family.prefill and family.name in CONTINUES and not thinks
        return "continues" if continues else None

    def inlines(self, kind: str, url: str) -> bool:
        return kind in ("image", "file")

    def classify(self, status: int, headers: gw.Headers, body: bytes) -> gw.UpstreamError:
        return errors.refused(status, headers, body)

    def again(self, refused: gw.RefusedCall) -> gw.UpstreamRequest | None:
        """With new credentials, signed by the vendor's time, or without earlier reasoning."""
        if self._mended(refused.headers, refused.body):
            return refused.request
        return unreasoned(refused)

    async def auth_headers(self) -> gw.Headers:
        """Nothing to add: a signature needs the whole request. Waits for credentials."""
        if self._store is not None and not self._store.lasts:
            await self._store.current()
        return {}

    def sign(self, request_: gw.UpstreamRequest) -> gw.UpstreamRequest:
        if self._signer is None or self._store is None:
            return request_
        if self._store.snapshot is None:  # called expired since by another request
            raise gw.UpstreamError(
                gw.FailureClass.SERVER_ERROR, "The gateway's credential is being renewed."
            )
        return self._signer.sign(request_, self._store.snapshot)

    def probe(self) -> gw.UpstreamRequest:
        url = f"{self._control}/foundation-models?byOutputModality=TEXT"
        return gw.UpstreamRequest("GET", url, self._headers, b"", decoding.ProbeDecoder)

    def list_models(self, after: str | None) -> gw.UpstreamRequest:
        url = f"{self._control}/foundation-models"
        return gw.UpstreamRequest("GET", url, self._headers, b"", decoding.ProbeDecoder)

    def listed(self, body: bytes) -> gw.ModelPage:
        return page(body)

    def _written(self, request_: gw.ChatRequest) -> request.Written:
        base = base_model(request_.model, self._settings.base_models)
        return request.converse(request_, family_of(base), self._manners[request_.stream])

    def _post(
        self,
        model: str,
        operation: str,
        body: object,
        decoder: gw.DecoderFactory,
        stream: bool = False,
        dropped: tuple[str, ...] = (),
    ) -> gw.UpstreamRequest:
        url = f"{self._place(model)}/{operation}"
        data = msgspec.json.encode(body)
        return gw.UpstreamRequest("POST", url, self._headers, data, decoder, stream, dropped)

    def _addressed(self, model: str) -> str:
        named = region_of(model)
        if named is not None and named != self.region:
            raise gw.ModelNotFoundError(
                f"This provider calls {self.region}, and the ARN is of {named}.", param="model"
            )
        return f"{self._base}/model/{segment(model)}"

    def _mended(self, headers: gw.Headers, body: bytes) -> bool:
        """Whether another try may be accepted: with new credentials, or the vendor's time."""
        name = errors.named(headers, errors.parsed(body))
        if name in errors.EXPIRED and self._store is not None:
            return self._store.expire()
        if name in errors.SKEWED and self._signer is not None:
            return self._signer.correct(headers.get("date"))
        return False


def _base(given: object | None, default: str) -> str:
    return str(given).rstrip("/") if given is not None else default


def _manners(settings: Settings, stream: bool) -> request.Manners:
    guardrail = settings.guardrail.wire(stream=stream) if settings.guardrail else None
    return request.Manners(guardrail, settings.default_max_tokens, settings.send_metadata)


def _info(each: gw.ModelEntry | str) -> gw.ModelInfo:
    """What the settings say of a model, completed by what is known of it."""
    entry = gw.ModelEntry(id=each) if isinstance(each, str) else each
    found = next((row for row in KNOWN if row.id == entry.id), gw.ModelInfo(entry.id))
    return gw.ModelInfo(
        entry.id,
        entry.context_window or found.context_window,
        entry.max_output or found.max_output,
        frozenset(entry.capabilities) or found.capabilities,
        found.input_price,
        found.output_price,
    )


make: Callable[[str, Settings], BedrockProvider] = BedrockProvider


def _proven(
    it: BedrockProvider,
) -> tuple[
    gw.Provider,
    gw.SupportsEmbeddings,
    gw.SupportsCountTokens,
    gw.SupportsInline,
    gw.SupportsCredentials,
    gw.SupportsSigning,
    gw.SupportsSecondTry,
    gw.SupportsProbe,
]:
    """The type checker proves the contracts here."""
    return it, it, it, it, it, it, it, it


@gw.hookimpl
def llm_gateway_providers() -> Sequence[gw.ProviderSpec]:
    return [
        gw.ProviderSpec(
            "bedrock",
            Settings,
            make,
            env="AWS_ACCESS_KEY_ID",
            environment={
                "access_key_id": "AWS_ACCESS_KEY_ID",
                "secret_access_key": "AWS_SECRET_ACCESS_KEY",
                "session_token": "AWS_SESSION_TOKEN",
                "region": "AWS_REGION",
            },
            surfaces=frozenset(
                {
                    "chat",
                    "count_tokens",
                    "embeddings",
                    "files",
                    "json_schema",
                    "parallel_tools",
                    "prompt_cache",
                    "reasoning",
                    "streaming",
                    "tools",
                    "vision",
                }
            ),
        )
    ]

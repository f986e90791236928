"""Declares the kind ``azure_openai``: OpenAI's dialect behind deployments."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import llm_gateway_api as gw
from llm_gateway_dialect_openai import ParameterRule, Quirks, WithEmbeddings, demanded, few_stops

from llm_gateway_provider_azure_openai import errors, models
from llm_gateway_provider_azure_openai.entra import Tokens
from llm_gateway_provider_azure_openai.settings import Settings

MAX_STOPS = 4


class AzureProvider(WithEmbeddings[Settings]):
    """Speaks to one resource. A chat is always translated: the vendor's streams have chunks
    without an id, a choice or a delta, which clients of OpenAI trip over."""

    errors = errors.RULES
    paths: ClassVar[Mapping[str, str]] = {"openai.embeddings": "/embeddings"}

    def __init__(self, name: str, settings: Settings) -> None:
        quirks = quirks_of(settings)
        super().__init__(name, settings.model_copy(update={"quirks": quirks}))
        # A hidden note is none of the members that a client may have asked for.
        if not settings.content_filter_results:
            self._reading = replace(self._reading, keep_unknown=False)
        if not settings.models:
            self._models = tuple(row(name, settings) for name in settings.deployments)

    def base(self) -> str:
        return self.settings.resource()

    def url(self, path: str, model: str) -> str:
        return self.settings.address(path, model)

    def headers(self) -> dict[str, str]:
        key = self.settings.api_key.get_secret_value()
        return {"api-key": key} if key else {}

    def classify(self, status: int, headers: gw.Headers, body: bytes) -> gw.UpstreamError:
        return errors.refused(status, headers, body)

    def check(self, request: gw.ChatRequest) -> None:
        few_stops(request, MAX_STOPS)

    def bridges(self) -> bool:
        return True

    def bridged(self, model: str, function_tools: bool, effort: object) -> bool:
        base = base_model(model, self.settings)
        return base is not None and demanded(base, function_tools, effort)

    def shaped(self, body: dict[str, Any], request: gw.ChatRequest) -> dict[str, Any]:
        """The vendor refuses to count the tokens of a stream over one's own data."""
        if "data_sources" in body:
            body.pop("stream_options", None)
        return body


class EntraProvider(AzureProvider):
    """The same with a token in place of a key."""

    def __init__(self, name: str, settings: Settings) -> None:
        super().__init__(name, settings)
        assert settings.entra is not None
        self._tokens = Tokens(settings.entra)

    async def auth_headers(self) -> gw.Headers:
        return await self._tokens.headers()

    def again(self, refused: gw.RefusedCall) -> gw.UpstreamRequest | None:
        """A token that was revoked before its time is replaced."""
        if refused.status == 401 and self._tokens.replaced(refused.sent):
            return refused.request
        return super().again(refused)


def quirks_of(settings: Settings) -> Quirks:
    """By the address and by each deployment's base model; the operator's own go over them."""
    default = models.limit_field(None, settings.modern)
    rules = [ParameterRule(rename={"max_tokens": default})]
    for name, each in settings.deployments.items():
        field = models.limit_field(each.base_model, settings.modern)
        rules.append(ParameterRule(models=name, rename={"max_tokens": field}))
    given = settings.quirks
    ours = Quirks(stream_usage=settings.modern, parameters=tuple(rules))
    if given.parameters:
        given = given.model_copy(update={"parameters": (*rules, *given.parameters)})
    if "max_tokens_field" in given.model_fields_set:
        ours = ours.model_copy(update={"parameters": ()})
    return ours.overlaid(given)


def base_model(deployment: str, settings: Settings) -> str | None:
    found = settings.deployments.get(deployment)
    return found.base_model if found is not None else None


def row(deployment: str, settings: Settings) -> gw.ModelInfo:
    """What is known of a deployment: the row of its base model, under its own name."""
    base = base_model(deployment, settings)
    known = models.known(base) if base is not None else None
    found = known if known is not None else gw.ModelInfo(deployment)
    return replace(found, id=deployment, base=base)


def make(name: str, settings: Settings) -> gw.Provider:
    kind = AzureProvider if settings.entra is None else EntraProvider
    return kind(name, settings)


@gw.hookimpl
def llm_gateway_providers() -> Sequence[gw.ProviderSpec]:
    return [
        gw.ProviderSpec(
            "azure_openai",
            Settings,
            make,
            env="AZURE_OPENAI_API_KEY",
            status="production",
            environment={
                "api_key": "AZURE_OPENAI_API_KEY",
                "endpoint": "AZURE_OPENAI_ENDPOINT",
            },
            surfaces=frozenset(
                {
                    "chat",
                    "embeddings",
                    "json_schema",
                    "reasoning",
                    "streaming",
                    "tools",
                    "vision",
                }
            ),
        )
    ]

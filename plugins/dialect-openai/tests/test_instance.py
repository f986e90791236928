"""A thin provider configures the dialect; each override reaches the wire."""

import json
from typing import Any

import llm_gateway_api as gw
import pytest
from llm_gateway_dialect_openai import (
    DialectProvider,
    DialectSettings,
    ErrorRules,
    ParameterRule,
    Quirks,
    WithEmbeddings,
)
from pydantic import Field, HttpUrl


class Settings(DialectSettings):
    base_url: HttpUrl = Field(default=HttpUrl("http://acme.test/v1"), description="base")


class Thin(WithEmbeddings[Settings]):
    """As little as a provider can be."""


class Deployed(DialectProvider[Settings]):
    """A vendor with a path for each model, a header of its own and errors of its own."""

    quirks = Quirks(
        max_tokens_field="max_tokens",
        developer_role="system",
        parameters=(ParameterRule(models="think-*", refuse=("stop",), drop=("seed",)),),
    )
    errors = ErrorRules(statuses={412: gw.FailureClass.ACCOUNT_EMPTY})

    def url(self, path: str, model: str) -> str:
        return f"{self._base}/deployments/{model}{path}?api-version=1"

    def headers(self) -> dict[str, str]:
        return {"api-key": self.settings.api_key.get_secret_value()}


def settings(**more: object) -> Settings:
    return Settings.model_validate({"api_key": "k-1", **more})


def asked(model: str = "m", **more: Any) -> gw.ChatRequest:
    messages = (gw.Message("user", (gw.TextPart("hi"),), text_only=True),)
    return gw.ChatRequest(model, more.pop("messages", messages), dialect="openai.chat", **more)


def body(sent: gw.UpstreamRequest) -> Any:
    return json.loads(sent.body)


def test_thin_provider_needs_no_more_than_an_address() -> None:
    sent = Thin("acme", settings()).encode(asked(params={"max_tokens": 5}))

    assert sent.url == "http://acme.test/v1/chat/completions"
    assert sent.headers["authorization"] == "Bearer k-1"
    assert body(sent) == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "max_completion_tokens": 5,
    }


def test_overrides_of_path_header_and_role_reach_the_wire() -> None:
    provider = Deployed("acme", settings())
    developer = (gw.Message("developer", (gw.TextPart("be brief"),), text_only=True),)

    sent = provider.encode(asked("d1", messages=developer, params={"max_tokens": 5}))

    assert sent.url == "http://acme.test/v1/deployments/d1/chat/completions?api-version=1"
    assert "authorization" not in sent.headers and sent.headers["api-key"] == "k-1"
    assert body(sent)["messages"] == [{"role": "system", "content": "be brief"}]
    assert body(sent)["max_tokens"] == 5


def test_parameter_has_its_outcome_by_model() -> None:
    provider = Deployed("acme", settings())

    assert body(provider.encode(asked("other", params={"stop": ["x"]})))["stop"] == ["x"]
    assert provider.encode(asked("think-1", params={"seed": 7})).dropped == ("seed",)
    with pytest.raises(gw.UnsupportedParameterError) as caught:
        provider.encode(asked("think-1", params={"stop": ["x"]}))
    assert caught.value.param == "stop"


def test_refused_parameter_that_asks_for_nothing_is_left_out() -> None:
    sent = Deployed("acme", settings()).encode(asked("think-1", params={"stop": []}))

    assert "stop" not in body(sent) and sent.dropped == ("stop",)


def test_own_error_rules_come_first() -> None:
    assert Deployed("a", settings()).classify(412, {}, b"{}").failure == "account_empty"
    assert Thin("a", settings()).classify(412, {}, b"{}").failure == "caller_fault"


def test_operators_quirks_go_over_the_vendors_key_by_key() -> None:
    provider = Deployed("acme", settings(quirks={"developer_role": "keep"}))

    assert provider.quirks.developer_role == "keep"
    assert provider.quirks.max_tokens_field == "max_tokens"


def test_bytes_pass_only_where_no_quirk_changes_them() -> None:
    assert Thin("a", settings()).relays("openai.chat")
    assert not Deployed("a", settings()).relays("openai.chat")
    assert not Thin("a", settings(quirks={"relay": False})).relays("openai.chat")
    assert Thin("a", settings(quirks={"finish_fix": True})).relays("openai.chat")


def test_provider_has_embeddings_only_where_it_says_so() -> None:
    assert isinstance(Thin("a", settings()), gw.SupportsEmbeddings)
    assert not isinstance(Deployed("a", settings()), gw.SupportsEmbeddings)


def test_unknown_fields_survive_within_the_dialect_and_are_reported_elsewhere() -> None:
    provider = Thin("acme", settings())
    part = gw.TextPart("hi", {"prompt_cache_breakpoint": {"mode": "explicit"}})
    own = asked(messages=(gw.Message("user", (part,)),), extra={"acme_mode": 1})

    sent = provider.encode(own)
    foreign = provider.encode(gw.ChatRequest(**{**_members(own), "dialect": "other"}))

    assert body(sent)["acme_mode"] == 1
    assert body(sent)["messages"][0]["content"][0]["prompt_cache_breakpoint"]
    assert set(foreign.dropped) == {"acme_mode", "prompt_cache_breakpoint"}
    assert "acme_mode" not in body(foreign)


def _members(request: gw.ChatRequest) -> dict[str, Any]:
    return {name: getattr(request, name) for name in request.__struct_fields__}

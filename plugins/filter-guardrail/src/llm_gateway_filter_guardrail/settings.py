"""``plugins.filter_guardrail``"""

from collections.abc import Iterator
from typing import Literal, TypeAlias

import re2
from llm_gateway_api import Seconds, Section
from pydantic import Field, SecretStr, field_validator, model_validator

Side: TypeAlias = Literal["request", "answer"]


class Scope(Section):
    """Where a rule holds."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$", description="its name in refusals and metrics"
    )
    monitor: bool = Field(default=False, description="true only counts")
    tenants: tuple[str, ...] | None = Field(default=None, description="tenants; all if absent")
    routes: tuple[str, ...] | None = Field(default=None, description="paths; all if absent")

    def holds(self, tenant: str | None, path: str) -> bool:
        fits = self.tenants is None or tenant in self.tenants
        return fits and (self.routes is None or path in self.routes)


class Rule(Scope):
    """What may not be said: a list of words, regular expressions, or both."""

    deny: tuple[str, ...] = Field(
        default=(), description="words and phrases, whole and in any case of letters"
    )
    patterns: tuple[str, ...] = Field(default=(), description="regular expressions (RE2)")
    on: tuple[Side, ...] = Field(default=("request", "answer"), description="request, answer")

    @field_validator("deny")
    @classmethod
    def _words(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        if not all(each.strip() for each in given):
            raise ValueError("an empty word would match everything; take it out")
        return given

    @field_validator("patterns")
    @classmethod
    def _compiles(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for each in given:
            try:
                found = re2.compile(each, options()).search("")
            except re2.error as error:
                raise ValueError(f"{each!r} is no expression that RE2 knows: {error}") from None
            if found is not None:
                raise ValueError(f"{each!r} matches the empty text, so everything")
        return given

    @model_validator(mode="after")
    def _says_something(self) -> "Rule":
        if not self.deny and not self.patterns:
            raise ValueError("a rule needs deny or patterns")
        return self


class External(Scope):
    """A service that is asked about requests: ``POST url``, ``{"allow": true}`` lets pass."""

    url: str = Field(pattern=r"^https?://", description="address that the texts are posted to")
    key: SecretStr | None = Field(default=None, description="bearer token sent with it")
    timeout_seconds: Seconds = Field(default=2.0, gt=0, description="seconds for the answer")
    fail: Literal["open", "closed"] = Field(
        default="closed", description="what its silence means: open lets pass, closed refuses"
    )


class GuardrailSettings(Section):
    """Off until the section stands in the configuration."""

    enabled: bool = Field(default=True, description="false asks no rule")
    rules: tuple[Rule, ...] = Field(default=(), description="rules of words and expressions")
    external: tuple[External, ...] = Field(default=(), description="services, asked at once")
    window_characters: int = Field(
        default=256, ge=16, le=65536, description="how much of an answer is held back"
    )

    @model_validator(mode="after")
    def _fits(self) -> "GuardrailSettings":
        names = list(self._names())
        for name in set(names):
            if names.count(name) > 1:
                raise ValueError(f"two rules are named {name}; give one of them another name")
        for rule in self.rules:
            longest = max(map(len, rule.deny), default=0)
            if "answer" in rule.on and longest > self.window_characters:
                raise ValueError(
                    f"{rule.name} denies a phrase of {longest} characters; "
                    f"window_characters must be at least that"
                )
        return self

    def _names(self) -> Iterator[str]:
        for each in (*self.rules, *self.external):
            yield each.name


def options() -> "re2.Options":
    """RE2's, so that it says nothing on standard error and large lists fit."""
    found = re2.Options()
    found.log_errors = False
    found.max_mem = 64 << 20
    return found

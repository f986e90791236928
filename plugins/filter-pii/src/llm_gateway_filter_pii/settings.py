"""``plugins.filter_pii``"""

from typing import Literal, TypeAlias

from llm_gateway_api import Section
from pydantic import Field, field_validator

from llm_gateway_filter_pii.national import COUNTRIES
from llm_gateway_filter_pii.recognisers import KINDS, Kind

Action: TypeAlias = Literal["off", "mask", "reversible", "block"]
Mode: TypeAlias = Literal["enforce", "monitor"]


class Rule(Section):
    """Other actions where all that is named of a request fits."""

    tenants: tuple[str, ...] | None = Field(default=None, description="tenants; all if absent")
    routes: tuple[str, ...] | None = Field(
        default=None, description="paths (/v1/embeddings); all if absent"
    )
    mode: Mode | None = Field(default=None, description="enforce or monitor; unchanged if absent")
    kinds: dict[Kind, Action] = Field(default_factory=dict, description="action by kind")


class PiiSettings(Section):
    """Prompts are left alone until the section stands in the configuration; logs never are."""

    enabled: bool = Field(default=True, description="false also ends the masking of logs")
    prompts: bool = Field(
        default=False, description="on once the section is written; false leaves prompts alone"
    )
    mode: Mode = Field(default="enforce", description="monitor only counts what it finds")
    kinds: dict[Kind, Action] = Field(
        default_factory=dict,
        description="off, mask, reversible or block by kind; mask where a kind is not named",
    )
    names: tuple[str, ...] = Field(default=(), description="names of persons to look for")
    countries: tuple[str, ...] | None = Field(
        default=None, description="national ids of these countries; of all known ones if absent"
    )
    rules: tuple[Rule, ...] = Field(
        default=(), description="by tenant and route, in their order; the last that fits wins"
    )

    @field_validator("countries")
    @classmethod
    def _known(cls, given: tuple[str, ...] | None) -> tuple[str, ...] | None:
        unknown = sorted(set(given or ()) - set(COUNTRIES))
        if unknown:
            raise ValueError(f"{', '.join(unknown)}: none of {', '.join(COUNTRIES)}")
        return given

    def policy(self, tenant: str | None, path: str) -> tuple[Mode, dict[Kind, Action]]:
        """What holds for a request of `tenant` on the route `path`."""
        mode, kinds = self.mode, {**dict.fromkeys(KINDS, "mask"), **self.kinds}
        for rule in self.rules:
            fits = rule.tenants is None or tenant in rule.tenants
            if fits and (rule.routes is None or path in rule.routes):
                mode = rule.mode or mode
                kinds |= rule.kinds
        return mode, kinds  # type: ignore[return-value]  # the literals' union is lost

"""Declares the routing rules and the strategies that take turns."""

from collections.abc import Sequence

import llm_gateway_api as gw
from pydantic import ConfigDict, Field, RootModel, field_validator, model_validator

from llm_gateway_routing_basic.condition import compiled, reads
from llm_gateway_routing_basic.strategies import SmoothWeighted


class Rule(gw.Section):
    """One rule: requests that meet `condition` go to `target_provider`."""

    name: str = Field(min_length=1, description="the rule's name, for logs and routing-strategy")
    condition: str = Field(description="when it holds: model starts_with 'claude'")
    target_provider: str = Field(min_length=1, description="the provider's name in providers")
    priority: int = Field(default=0, description="higher goes first; then the order of the file")

    @field_validator("condition")
    @classmethod
    def _compiles(cls, condition: str) -> str:
        compiled(condition)
        return condition


class RulesSettings(RootModel[tuple[Rule, ...]]):
    """Settings under ``routing.rules``: a list."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    root: tuple[Rule, ...] = ()

    @model_validator(mode="after")
    def _names_differ(self) -> "RulesSettings":
        names = [rule.name for rule in self.root]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two rules are called {twice[0]!r}; rename one")
        return self


class Rules:
    """Names the provider of a request by the first rule that holds."""

    def __init__(self, settings: RulesSettings) -> None:
        ordered = sorted(settings.root, key=lambda rule: -rule.priority)
        self._rules = tuple(
            (compiled(rule.condition), (rule.name, rule.target_provider)) for rule in ordered
        )
        self._reads = frozenset[str]().union(*(reads(rule.condition) for rule in ordered))

    def reads(self) -> frozenset[str]:
        return self._reads

    def target(self, asked: gw.Asked) -> tuple[str, str] | None:
        for holds, answer in self._rules:
            if holds(asked):
                return answer
        return None

    def warnings(self, targets: gw.Targets) -> list[str]:
        """Rules that name a provider which the configuration does not have."""
        return [
            f"routing.rules: {name} is skipped, since no provider is called {provider!r}"
            for _, (name, provider) in self._rules
            if not targets.exists(f"{provider}/-")  # any model: only the provider is asked about
        ]


def rules(settings: RulesSettings) -> Rules | None:
    """The rules; None where there are none, so that nothing is asked about a request."""
    return Rules(settings) if settings.root else None


class Region:
    """Prefers deployments in the caller's region, where it says one; the others stay."""

    def prefer(self, asked: gw.Asked, candidates: Sequence[gw.Target]) -> Sequence[float] | None:
        wanted = asked.region
        if wanted is None:
            return None
        return [1.0 if gw.same_region(wanted, each.region) else 0.0 for each in candidates]


_scorer: type[gw.RoutingScorer] = Region
_target: type[gw.SupportsTarget] = Rules
_reads: type[gw.SupportsReads] = Rules
_warnings: type[gw.SupportsWarnings] = Rules


@gw.hookimpl
def llm_gateway_settings() -> list[gw.SettingsSpec]:
    return [gw.SettingsSpec("routing.rules", RulesSettings)]


@gw.hookimpl
def llm_gateway_routing_filters() -> list[gw.RoutingFilterSpec]:
    return [gw.RoutingFilterSpec(name="rules", make=rules, settings="routing.rules")]


@gw.hookimpl
def llm_gateway_routing_scorers() -> list[gw.RoutingScorerSpec]:
    return [gw.RoutingScorerSpec(name="region", make=Region)]


@gw.hookimpl
def llm_gateway_routing_strategies() -> list[gw.RoutingStrategySpec]:
    return [
        gw.RoutingStrategySpec(name=name, make=SmoothWeighted, needs=("workers",))
        for name in ("round_robin", "weighted")
    ]

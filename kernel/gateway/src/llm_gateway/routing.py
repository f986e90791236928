"""From a model's name to an ordered plan: candidates, filter, score, pick. Knows contracts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from llm_gateway_api import (
    Arrival,
    Asked,
    DirectProvider,
    ModelInfo,
    ModelNotFoundError,
    NoTargetError,
    PermissionDeniedError,
    Provider,
    RoutingFilter,
    RoutingStrategy,
    SupportsTarget,
    Target,
)


@dataclass(frozen=True, slots=True)
class Instance:
    """What routing knows of a provider instance."""

    name: str
    models: tuple[ModelInfo, ...]
    default_model: str | None
    region: str | None
    weight: float


def instance(name: str, provider: Provider | DirectProvider, settings: object) -> Instance:
    return Instance(
        name,
        tuple(provider.models()),
        getattr(settings, "default_model", None),
        getattr(settings, "region", None),
        getattr(settings, "weight", 1.0),
    )


@dataclass(frozen=True)
class Router:
    """Resolves and orders; bound once, shared by all requests."""

    instances: Mapping[str, Instance]
    entries: Mapping[str, tuple[Target, ...]]
    default: str | None
    filters: Sequence[tuple[str, RoutingFilter]]
    rules: Sequence[SupportsTarget]
    strategy: RoutingStrategy | None
    fallback: bool = True
    listed: Mapping[str, tuple[Target, ...]] = field(default_factory=dict)

    def plan(self, asked: Asked) -> Sequence[Target]:
        """The targets to try, best first.

        Raises:
            ModelNotFoundError: nobody is configured to serve the name.
            PermissionDeniedError: the caller may not use it.
            NoTargetError: every candidate was removed; the message says why.
        """
        principal = asked.arrival.principal
        if principal.models is not None and asked.model not in principal.models:
            raise PermissionDeniedError(
                "This key may not use the model; ask for one of GET /v1/models.",
                param="model",
                code="model_not_allowed",
            )
        candidates = self.resolve(asked)
        reasons: list[str] = []
        kept = [each for each in candidates if self._keeps(asked, each, reasons)]
        if not kept:
            raise NoTargetError("No deployment is eligible: " + "; ".join(reasons) + ".")
        if len(kept) == 1 or self.strategy is None:
            return kept if self.fallback else kept[:1]
        scores = self.strategy.score(asked, kept)
        ranked = sorted(
            zip(scores, kept, strict=True),
            key=lambda pair: (-pair[0], -pair[1].weight, pair[1].name),
        )
        return [target for _, target in ranked][: None if self.fallback else 1]

    def _keeps(self, asked: Asked, target: Target, reasons: list[str]) -> bool:
        allowed = asked.arrival.principal.providers
        if allowed is not None and target.provider not in allowed:
            reasons.append(f"{target.name}: not allowed for this key")
            return False
        if target.weight <= 0:
            reasons.append(f"{target.name}: weight 0")
            return False
        for name, each in self.filters:
            if (reason := each.keep(asked, target)) is not None:
                reasons.append(f"{target.name}: {name}: {reason}")
                return False
        return True

    def resolve(self, asked: Asked) -> Sequence[Target]:
        """Candidates by ``provider/model``, entry, rule, the providers' lists, the default."""
        model = asked.model
        provider, slash, rest = model.partition("/")
        if slash and rest and provider in self.instances:
            return (self._target(provider, rest),)
        entry = self.entries.get(model)
        ruled = self._ruled(asked)
        if entry is not None:
            narrowed = [each for each in entry if each.provider == ruled]
            return narrowed or entry
        if ruled is not None:
            return (self._target(ruled, model),)
        if model in self.listed:
            return self.listed[model]
        if self.default is not None:
            return (self._target(self.default, model),)
        if model in self.instances and (own := self.instances[model].default_model):
            return (self._target(model, own),)
        raise ModelNotFoundError(
            "No provider is configured for this model; GET /v1/models lists what there is.",
            param="model",
        )

    def _ruled(self, asked: Asked) -> str | None:
        for each in self.rules:
            found = each.target(asked)
            if found is not None and found[1] in self.instances:
                return found[1]
        return None

    def _target(self, provider: str, model: str) -> Target:
        known = self.instances[provider]
        return Target(provider, model, known.weight or 1.0, known.region)

    def visible(self, arrival: Arrival) -> Sequence[tuple[str, str, ModelInfo]]:
        """Public names first, then each provider's own models, as the caller may use them."""
        allowed = arrival.principal
        seen: dict[str, tuple[str, str, ModelInfo]] = {}
        for name, targets in self.entries.items():
            first = targets[0]
            seen[name] = (name, first.provider, self._info(first))
        for known in self.instances.values():
            for info in known.models:
                seen.setdefault(info.id, (info.id, known.name, info))
        return [
            row
            for row in seen.values()
            if (allowed.models is None or row[0] in allowed.models)
            and (allowed.providers is None or row[1] in allowed.providers)
        ]

    def _info(self, target: Target) -> ModelInfo:
        for info in self.instances[target.provider].models:
            if info.id == target.model:
                return info
        return ModelInfo(target.model)


def listed(instances: Mapping[str, Instance]) -> dict[str, tuple[Target, ...]]:
    """For each model of the providers' own lists, the deployments that serve it."""
    found: dict[str, tuple[Target, ...]] = {}
    for known in instances.values():
        for info in known.models:
            target = Target(known.name, info.id, known.weight, known.region)
            found[info.id] = (*found.get(info.id, ()), target)
    return found

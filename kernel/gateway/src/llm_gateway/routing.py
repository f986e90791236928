"""From a model's name to an ordered plan: candidates, filter, score, pick. Knows contracts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, TypeAlias

from llm_gateway_api import (
    Arrival,
    Asked,
    DirectProvider,
    GatewayError,
    Guard,
    ModelInfo,
    ModelNotFoundError,
    NoTargetError,
    ParameterOutcome,
    PermissionDeniedError,
    Provider,
    RoutingFilter,
    RoutingStrategy,
    SupportsApplies,
    SupportsFollowing,
    SupportsTarget,
    Target,
)
from msgspec import structs

from llm_gateway.matrix import Matrix
from llm_gateway.ranking import Ranking, Scorers, ranked

Filters: TypeAlias = Sequence[tuple[str, RoutingFilter]]
OFF = "weight 0"
MAX_MADE = 1000  # targets that are kept: clients name models as they like


@dataclass(frozen=True, slots=True)
class Instance:
    """What routing knows of a provider instance; `bases` are the vendor's names of models that
    go by names of the operator's own."""

    name: str
    models: tuple[ModelInfo, ...]
    default_model: str | None
    region: str | None
    weight: float
    bases: Mapping[str, str]

    def target(
        self,
        model: str,
        weight: float,
        region: str | None = None,
        tags: frozenset[str] = frozenset(),
        known: bool = True,
    ) -> Target:
        base = self.bases.get(model)
        return Target(self.name, model, weight, region or self.region, tags, known, base)


Learned = Callable[[str, ModelInfo], ModelInfo]


def instance(
    name: str, provider: Provider | DirectProvider, settings: object, learned: Learned
) -> Instance:
    """`learned` adds what the catalogues know to what the provider itself says of a model."""
    models = tuple(learned(name, each) for each in provider.models())
    return Instance(
        name,
        models,
        getattr(settings, "default_model", None),
        getattr(settings, "region", None),
        getattr(settings, "weight", 1.0),
        {each.id: each.base for each in models if each.base is not None},
    )


class Considered(NamedTuple):
    """Who may answer a request: by what its name was resolved, by which rule, whom a filter
    `removed` (name, reason), and the others, in no order. `error` is why nobody may."""

    asked: Asked
    by: str = ""
    rule: str | None = None
    removed: Sequence[tuple[str, str]] = ()
    kept: Sequence[Target] = ()
    error: GatewayError | None = None


class Decision(NamedTuple):
    """How a request was routed: who was considered, and the order of those that are left, None
    where nobody is."""

    considered: Considered
    ranking: Ranking | None


@dataclass(frozen=True)
class Router:
    """Resolves and orders; bound once, shared by all requests."""

    instances: Mapping[str, Instance]
    entries: Mapping[str, tuple[Target, ...]]
    default: str | None
    filters: Filters
    rules: Sequence[SupportsTarget]
    strategy: RoutingStrategy | None
    fallback: bool = True
    listed: Mapping[str, tuple[Target, ...]] = field(default_factory=dict)
    named_providers: frozenset[str] = frozenset()
    learned: Learned = field(default=lambda _, info: info, compare=False, repr=False)
    matrix: Matrix = field(default_factory=lambda: Matrix({}), compare=False, repr=False)
    scorers: Scorers = ()
    _made: dict[tuple[str, str], Target] = field(default_factory=dict, compare=False, repr=False)
    _infos: dict[str, ModelInfo] = field(default_factory=dict, compare=False, repr=False)
    _parts: dict[tuple[str, str], tuple[Target, ...]] = field(
        default_factory=dict, compare=False, repr=False
    )

    def plan(self, asked: Asked) -> Sequence[Target]:
        """The targets to try, best first.

        Raises:
            ModelNotFoundError, PermissionDeniedError: nobody serves it, or not to this caller.
            NoTargetError: every candidate was removed; the message says why.
        """
        return self.targets(self.decide(asked))

    def targets(self, decision: Decision) -> Sequence[Target]:
        """Those of `decision` to try, best first. Raises `NoTargetError` where it left none."""
        if decision.ranking is None:
            raise nobody_left(decision.considered)
        return decision.ranking if self.fallback else (decision.ranking.first,)

    def decide(self, asked: Asked) -> Decision:
        """All that led to the plan. Raises like `plan`, but not where nobody is left."""
        return self.order(self.considered(asked))

    def order(self, considered: Considered) -> Decision:
        """The decision among those that were considered. Raises its `error`."""
        if considered.error is not None:
            raise considered.error
        asked, kept = considered.asked, considered.kept
        ranking = ranked(asked, kept, self.scorers, self.strategy) if kept else None
        return Decision(considered, ranking)

    def considered(self, asked: Asked) -> Considered:
        """Whom `plan` would choose among; nobody's turn is used up."""
        try:
            permit(asked)
            by, rule, candidates = self._resolved(asked)
        except (ModelNotFoundError, PermissionDeniedError) as error:
            return Considered(asked, error=error)
        removed: list[tuple[str, str]] = []
        return Considered(asked, by, rule, removed, self._kept(asked, candidates, removed))

    @cached_property
    def looks(self) -> bool:
        """Whether anybody may ask what the body holds."""
        return bool(self.filters or self.rules)

    def _kept(
        self, asked: Asked, candidates: Sequence[Target], removed: list[tuple[str, str]]
    ) -> Sequence[Target]:
        """Those that no filter takes away; `removed` says why the others are not among them."""
        filters = [pair for pair, able in self._able if able is None or able.applies(asked)]
        if not filters and asked.arrival.principal.providers is None:
            served = self._served.get(id(candidates))
            if served is not None and served[0] is candidates and served[1]:
                if len(served[1]) < len(candidates):
                    removed += [(each.name, OFF) for each in candidates if each.weight <= 0]
                return served[1]
        return [each for each in candidates if self._keeps(asked, each, removed, filters)]

    @cached_property
    def _able(self) -> Sequence[tuple[tuple[str, RoutingFilter], SupportsApplies | None]]:
        """Each filter, and what may say that it has nothing to say of a request."""
        return [
            (pair, pair[1] if isinstance(pair[1], SupportsApplies) else None)
            for pair in self.filters
        ]

    def _keeps(
        self, asked: Asked, target: Target, removed: list[tuple[str, str]], filters: Filters
    ) -> bool:
        reason = against(asked, target, filters)
        if reason is None:
            return True
        removed.append((target.name, reason))
        return False

    @cached_property
    def _served(self) -> dict[int, tuple[Sequence[Target], tuple[Target, ...]]]:
        """For each tuple of the configuration, by identity: those of it that take traffic."""
        return {
            id(group): (group, group if all(each.weight > 0 for each in group) else _weighty(group))
            for group in (*self.entries.values(), *self.listed.values())
        }

    def _resolved(self, asked: Asked) -> tuple[str, str | None, Sequence[Target]]:
        """By what, by which rule, and whom: ``provider/model``, entry, rule, the providers'
        lists, the default."""
        model = asked.model
        provider, slash, rest = model.partition("/")
        if slash and rest and provider in self.instances:
            return "provider/model", None, (self._target(provider, rest),)
        entry = self.entries.get(model)
        rule, ruled = self._ruled(asked)
        if entry is not None:
            narrowed = self._narrowed(model, entry, ruled) if ruled is not None else ()
            return ("rule", rule, narrowed) if narrowed else ("routing.models", None, entry)
        if ruled is not None:
            return "rule", rule, (self._target(ruled, model),)
        if model in self.listed:
            return "the providers' lists", None, self.listed[model]
        if self.default is not None:
            return "default_provider", None, (self._target(self.default, model),)
        if model in self.instances and (own := self.instances[model].default_model):
            return "default_model", None, (self._target(model, own),)
        raise ModelNotFoundError(
            "No provider is configured for this model; GET /v1/models lists what there is.",
            param="model",
        )

    def _ruled(self, asked: Asked) -> tuple[str | None, str | None]:
        for each in self.rules:
            found = each.target(asked)
            if found is not None and found[1] in self.instances:
                return found
        return None, None

    def _narrowed(self, model: str, entry: tuple[Target, ...], provider: str) -> tuple[Target, ...]:
        """The deployments of `entry` that are `provider`'s."""
        found = self._parts.get((model, provider))
        if found is None:
            found = tuple(each for each in entry if each.provider == provider)
            self._parts[model, provider] = found
        return found

    def _target(self, provider: str, model: str) -> Target:
        made = self._made.get((provider, model))
        if made is None:
            known = self.instances[provider]
            listed = f"{provider}/{model}" in self._known
            made = known.target(model, known.weight or 1.0, known=listed)
            if len(self._made) >= MAX_MADE:
                self._made.clear()
            self._made[provider, model] = made
        return made

    def followers(self) -> Sequence[Guard]:
        """Of the strategy and the scorers that follow attempts."""
        parts: tuple[object, ...] = (self.strategy, *(scorer for _, scorer in self.scorers))
        return [each.follower() for each in parts if isinstance(each, SupportsFollowing)]

    # --- names of the configuration, for plugins (`Targets`) ----------------------------

    def named(self, name: str, asked: Asked) -> Sequence[Target]:
        """What `name` offers to this caller, best first."""
        allowed = asked.arrival.principal.models
        if not self.fallback or (allowed is not None and name not in allowed):
            return ()
        asked = structs.replace(asked, model=name)
        kept = self._kept(asked, self._offered(name), [])
        return ranked(asked, kept, self.scorers, self.strategy) if kept else ()

    def _offered(self, name: str) -> Sequence[Target]:
        """No rule and no default provider: who wrote the name said whom it means."""
        provider, _, model = name.partition("/")
        if model and provider in self.instances:
            return (self._target(provider, model),)
        if name in self.entries:
            return self.entries[name]
        if name in self.instances:
            own = self.instances[name].default_model
            return (self._target(name, own),) if own else ()
        return self.listed.get(name, ())

    def exists(self, name: str) -> bool:
        provider, slash, model = name.partition("/")
        providers = {*self.instances, *self.named_providers}
        return (
            name in self.entries
            or name in self.listed
            or name in providers
            or bool(slash and model and provider in providers)
        )

    @cached_property
    def _known(self) -> frozenset[str]:
        """Names of all deployments that the configuration or the providers' lists have."""
        groups = (*self.entries.values(), *self.listed.values())
        own = (
            f"{each.name}/{each.default_model}"
            for each in self.instances.values()
            if each.default_model
        )
        return frozenset((*own, *(each.name for group in groups for each in group)))

    def deployments(self) -> Sequence[Target]:
        """Those of the public names, then what providers serve beside them."""
        groups = (*self.entries.values(), *self.listed.values())
        found = {each.name: each for group in reversed(groups) for each in group}
        for each in self.instances.values():
            if each.default_model is not None:
                target = self._target(each.name, each.default_model)
                found.setdefault(target.name, target)
        return [found[name] for name in sorted(found)]

    def regions(self) -> frozenset[str]:
        found = {each.region for each in self.deployments()}
        found |= {each.region for each in self.instances.values()}
        return frozenset(each for each in found if each is not None)

    def visible(self, arrival: Arrival) -> Sequence[tuple[str, str, ModelInfo]]:
        """Public names first, then each provider's own models, as the caller may use them."""
        allowed = arrival.principal
        seen: dict[str, tuple[str, str, ModelInfo]] = {}
        for name, targets in self.entries.items():
            first = targets[0]
            seen[name] = (name, first.provider, self.info(first))
        for known in self.instances.values():
            for info in known.models:
                seen.setdefault(info.id, (info.id, known.name, info))
        for name, model in allowed.renamed.items():
            if model in seen:
                seen[name] = (name, *seen[model][1:])
        return [
            row
            for row in seen.values()
            if (allowed.models is None or row[0] in allowed.models)
            and (allowed.providers is None or row[1] in allowed.providers)
        ]

    def parameters(self, provider: str, model: str) -> Mapping[str, ParameterOutcome]:
        known = self.instances[provider]
        info = next((each for each in known.models if each.id == model), None)
        if info is not None and info.capabilities and "chat" not in info.capabilities:
            return {}  # parameters are those of a chat
        return self.matrix.outcomes(provider, model)

    def info(self, target: Target) -> ModelInfo:
        found = self._infos.get(target.name)
        if found is None:
            if len(self._infos) >= MAX_MADE:
                self._infos.clear()
            found = self._infos[target.name] = self._info(target)
        return found

    def _info(self, target: Target) -> ModelInfo:
        for info in self.instances[target.provider].models:
            if info.id == target.model:
                return info
        return self.learned(target.provider, ModelInfo(target.model, base=target.base))


def against(asked: Asked, target: Target, filters: Filters) -> str | None:
    """Why the request may not go to `target`; None where it may."""
    principal = asked.arrival.principal
    if principal.providers is not None and target.provider not in principal.providers:
        return "not allowed for this key"
    if target.weight <= 0:
        return OFF
    for name, each in filters:
        if (reason := each.keep(asked, target)) is not None:
            return f"{name}: {reason}"
    return None


def nobody_left(considered: Considered) -> NoTargetError:
    """Who was removed and why. The same request fares the same until somebody changes the
    configuration or what its caller may, so its client is told not to try again."""
    reasons = "; ".join(f"{name}: {why}" for name, why in considered.removed)
    error = NoTargetError(f"No deployment is eligible: {reasons}.")
    error.retryable = False
    return error


def permit(asked: Asked) -> None:
    """Raise `PermissionDeniedError` where the caller may not use the model at all."""
    models = asked.arrival.principal.models
    if models is not None and asked.model not in models:
        raise PermissionDeniedError(
            "This key may not use the model; ask for one of GET /v1/models.",
            param="model",
            code="model_not_allowed",
        )


def _weighty(group: Sequence[Target]) -> tuple[Target, ...]:
    return tuple(each for each in group if each.weight > 0)

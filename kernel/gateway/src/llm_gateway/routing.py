"""From a model's name to an ordered plan: candidates, filter, score, pick. Knows contracts."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

from llm_gateway_api import (
    Arrival,
    Asked,
    GatewayError,
    Guard,
    ModelInfo,
    ModelNotFoundError,
    NoTargetError,
    ParameterOutcome,
    PermissionDeniedError,
    RoutingFilter,
    RoutingStrategy,
    SupportsApplies,
    SupportsFollowing,
    SupportsReads,
    SupportsTarget,
    Target,
)
from msgspec import Struct, structs

from llm_gateway.instances import Instance, Learned
from llm_gateway.matrix import Matrix
from llm_gateway.ranking import Ranking, Scorers, ranked

log = logging.getLogger("llm_gateway.routing")
Filters: TypeAlias = Sequence[tuple[str, RoutingFilter]]
OFF = "weight 0"
MAX_MADE = 1000  # targets and resolved names that are kept: clients name models as they like
ALL = frozenset(Asked.__struct_fields__)
SEARCHED = frozenset({"tools", "images"})  # for which the body is searched


class Resolved(Struct, frozen=True):
    """What a name stands for: by what, by which rule, and whom. Those of the candidates that
    take traffic are `serving`, the others `off`."""

    by: str
    rule: str | None
    candidates: Sequence[Target]
    serving: Sequence[Target]
    off: Sequence[tuple[str, str]]


class Considered(Struct, frozen=True):
    """Who may answer a request: by what its name was resolved, by which rule, whom a filter
    `removed` (name, reason), and the others, in no order. `error` is why nobody may."""

    asked: Asked
    by: str = ""
    rule: str | None = None
    removed: Sequence[tuple[str, str]] = ()
    kept: Sequence[Target] = ()
    error: GatewayError | None = None


class Decision(Struct, frozen=True):
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
    _names: dict[str, Resolved] = field(default_factory=dict, compare=False, repr=False)
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
            if asked.arrival.principal.models is not None:
                permit(asked)
            found = self._names.get(asked.model) or self._resolved(asked)
        except (ModelNotFoundError, PermissionDeniedError) as error:
            return Considered(asked, error=error)
        removed, kept = self._kept(asked, found)
        return Considered(asked, found.by, found.rule, removed, kept)

    @cached_property
    def looks(self) -> bool:
        """Whether anybody may ask what the body holds."""
        parts: list[object] = [*self.rules, *(each for _, each in self.filters)]
        return not all(SEARCHED.isdisjoint(_reads(each)) for each in parts)

    @cached_property
    def _by_name(self) -> bool:
        """Whether the rules look at nothing but the model's name."""
        return all(_reads(each) <= {"model"} for each in self.rules)

    def _kept(
        self, asked: Asked, found: Resolved
    ) -> tuple[Sequence[tuple[str, str]], Sequence[Target]]:
        """Whom a filter takes away and why, and the others."""
        filters: Filters = ()
        if self.filters:
            filters = [pair for pair, able in self._able if able is None or able.applies(asked)]
        if not filters and asked.arrival.principal.providers is None:
            return found.off, found.serving
        removed: list[tuple[str, str]] = []
        kept = [each for each in found.candidates if self._keeps(asked, each, removed, filters)]
        return removed, kept

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
            id(group): (group, tuple(_weighty(group)))
            for group in (*self.entries.values(), *self.listed.values())
        }

    def _resolved(self, asked: Asked) -> Resolved:
        """What `asked.model` stands for; kept as long as rules look at nothing else."""
        found = self._weighed(*self._meant(asked))
        if self._by_name:
            if len(self._names) >= MAX_MADE:
                self._names.clear()
            self._names[asked.model] = found
        return found

    def _weighed(self, by: str, rule: str | None, candidates: Sequence[Target]) -> Resolved:
        same = self._served.get(id(candidates))
        serving = same[1] if same and same[0] is candidates else _weighty(candidates)
        idle = candidates if len(serving) < len(candidates) else ()
        off = [(each.name, OFF) for each in idle if each.weight <= 0]
        return Resolved(by, rule, candidates, serving, off)

    def _meant(self, asked: Asked) -> tuple[str, str | None, Sequence[Target]]:
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
        _, kept = self._kept(asked, self._weighed("", None, self._offered(name)))
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


def _reads(part: object) -> frozenset[str]:
    """The members of `Asked` on which rules or a filter depend."""
    if isinstance(part, SupportsReads):
        try:
            return part.reads()
        except Exception:
            log.exception("reads.failed part=%s", type(part).__name__)
    return ALL


def _weighty(group: Sequence[Target]) -> Sequence[Target]:
    """Those that take traffic; where all do, `group` itself."""
    return group if all(each.weight > 0 for each in group) else [e for e in group if e.weight > 0]

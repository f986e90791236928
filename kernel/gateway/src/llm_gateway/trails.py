"""How a request came to its answer, for observers that ask for it."""

from collections.abc import Sequence
from time import time

from llm_gateway_api import MOST_CANDIDATES, Candidate, Target, Trail

from llm_gateway.pipeline import Call
from llm_gateway.ranking import Ranking


def trail(call: Call, status: int, seconds: float) -> Trail:
    decision, progress, arrival = call.decision, call.progress, call.arrival
    ranking = decision.ranking if decision is not None else None
    considered = call.considered
    first_content = None
    if call.first_content is not None:
        first_content = call.first_content - arrival.arrived
    return Trail(
        at=int(time() * 1000),
        request_id=arrival.request_id,
        operation=call.head.operation,
        model=call.head.model,
        stream=call.head.stream,
        tenant=arrival.principal.tenant,
        key_id=arrival.principal.key_id,
        status=status,
        error=call.error.code if call.error is not None else None,
        duration=seconds,
        first_content=first_content,
        resolved_by=considered.by or None if considered is not None else None,
        rule=considered.rule if considered is not None else None,
        removed=tuple(considered.removed[:MOST_CANDIDATES]) if considered is not None else (),
        candidates=candidates(ranking) if ranking is not None else (),
        candidate_count=len(ranking) if ranking is not None else 0,
        failed=tuple(progress.made) if progress is not None else (),
        attempts=call.attempts,
        target=call.target.name if call.target is not None else None,
        region=call.target.region if call.target is not None else None,
        fallback=call.fallback,
        cache=call.cache,
        usage=call.usage,
        cost=call.cost,
    )


def candidates(ranking: Ranking) -> tuple[Candidate, ...]:
    """As far as they were put in order, best first; nothing is sorted for it."""
    if len(ranking) == 1:
        return (Candidate(ranking.first.name),)
    scores = _by_name(ranking.top, ranking.scores)
    preferences = _by_name(ranking.candidates, ranking.preferences)
    first = ranking.sorted or (ranking.first,)
    names = dict.fromkeys(each.name for each in (*first, *ranking.candidates))
    return tuple(
        Candidate(name, scores.get(name), preferences.get(name))
        for name in tuple(names)[:MOST_CANDIDATES]
    )


def _by_name(targets: Sequence[Target], values: Sequence[float] | None) -> dict[str, float]:
    if values is None:
        return {}
    return {each.name: value for each, value in zip(targets, values, strict=True)}

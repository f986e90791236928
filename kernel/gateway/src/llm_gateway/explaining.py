"""The way of a request up to the point where a provider would be asked."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from time import monotonic, time
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec
from llm_gateway_api import (
    Arrival,
    Asked,
    Budget,
    Frontend,
    FrontendSpec,
    Guard,
    Headers,
    HealthMonitor,
    MalformedBodyError,
    Prices,
    Principal,
    SupportsLook,
    Target,
    UpstreamRequest,
    Usage,
)
from msgspec import structs

from llm_gateway import counting
from llm_gateway.accounting import NANO
from llm_gateway.lanes import TranslateLane
from llm_gateway.nesting import refuse_deep
from llm_gateway.pipeline import Call, Pipeline, asked
from llm_gateway.routing import Decision, nobody_left

MASK = "**********"
SHOWN = re.compile(r"(?i)content-type|accept|user-agent|.*-version|.*-beta")
SECRET = re.compile(r"(?i)key|token|sig|secret|credential|password")
LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
EXPECTED_OUTPUT = 500


@dataclass(frozen=True)
class Explainer:
    """Meets `Explain` for one generation."""

    frontends: Mapping[tuple[str, str], tuple[FrontendSpec, Frontend]]
    pipeline: Pipeline
    armed: Sequence[tuple[str, Guard]]
    prices: Prices
    monitor: HealthMonitor | None

    async def __call__(
        self, path: str, body: bytes, headers: Headers, principal: Principal
    ) -> Mapping[str, object]:
        kept = await self.pipeline.screens.caller(principal.tenant, principal.key_id)
        if kept is not None:
            principal = _with(kept, principal)
        call = await self._call(path, body, headers, principal)
        seen = structs.replace(
            asked(call.arrival, call.head, self.pipeline.router.looks), rehearsal=True
        )
        decision = self.pipeline.router.decide(seen)
        considered = decision.considered
        document: dict[str, object] = {
            "model": call.head.model,
            "resolved_model": considered.asked.model,
            "resolved_by": considered.by,
            "rule": considered.rule,
            "region": seen.region,
            "caller": {**_caller(principal), "kept": kept is not None},
            "removed": [{"target": name, "reason": why} for name, why in considered.removed],
            "limits": msgspec.to_builtins(principal.limits),
            "budgets": [_budget(each) for each in principal.budgets],
        }
        ranking = decision.ranking
        if ranking is None:
            raise nobody_left(considered)
        rows = self._rows(call, decision, seen)
        admitted = [row for row in rows if row["admitted"]]
        chosen = admitted[0] if admitted else None
        document["candidates"] = rows
        document["chosen"] = chosen["target"] if chosen else None
        document["why"] = _why(rows, chosen)
        if chosen is not None:
            target = next(each for each in ranking if each.name == chosen["target"])
            document["request"] = self._request(call, target)
        return document

    def guards(self, target: Target) -> Mapping[str, Mapping[str, object]]:
        arrival = Arrival("explain", "POST", "", "", {}, "", monotonic())
        seen = Asked(arrival, target.model, "chat", False, 0, False, False, None, time(), {})
        return self._looks(target, structs.replace(seen, rehearsal=True))

    def _looks(self, target: Target, seen: Asked) -> dict[str, Mapping[str, object]]:
        return {n: g.look(target, seen) for n, g in self.armed if isinstance(g, SupportsLook)}

    async def _call(self, path: str, body: bytes, headers: Headers, principal: Principal) -> Call:
        found = self.frontends.get(("POST", path))
        if found is None:
            known = ", ".join(sorted(path for _, path in self.frontends))
            raise MalformedBodyError(
                f"No dialect is served at {path}; there are {known}.", param="path"
            )
        _, frontend = found
        arrival = Arrival("explain", "POST", path, "", headers, "", monotonic(), principal)
        refuse_deep(body, self.pipeline.max_json_depth)
        head = await self.pipeline.screens.admit(arrival, frontend.parse(body, arrival))
        nobody: Any = None  # there is no client, and nothing is written
        call = Call(arrival, frontend, nobody, head)
        if self.pipeline.screens.content:
            call.request = await self.pipeline.screens.read(arrival, call.canonical())
        return call

    def _rows(self, call: Call, decision: Decision, seen: Asked) -> list[dict[str, Any]]:
        """Candidates in the order in which they would be tried."""
        ranking = decision.ranking
        assert ranking is not None
        preferences, scores = ranking.preferences, ranking.scores
        preferred = _named(ranking.candidates, preferences)
        scored = _named(ranking.top, scores)
        tokens = counting.estimate(call.canonical())
        output = _output(call) if call.head.operation in ("chat", "completions") else 0
        rows = []
        for target in ranking if self.pipeline.router.fallback else ranking[:1]:
            looks = self._looks(target, seen)
            row: dict[str, Any] = {
                "target": target.name,
                "region": target.region,
                "weight": target.weight,
                "preference": preferred.get(target.name, 0.0),
                "score": scored.get(target.name),
                "health": self.monitor.health(target).state if self.monitor else None,
                "guards": looks,
                "admitted": all(look.get("admits", True) for look in looks.values()),
                "expected_cost": self._cost(target, tokens, output),
            }
            rows.append(row)
        return rows

    def _cost(self, target: Target, tokens: int, output: int) -> Mapping[str, object]:
        price = self.prices.price(target)
        cost = price.cost(Usage(input=tokens, output=output)) if price is not None else None
        usd = f"{cost:f}" if cost is not None else None
        return {"usd": usd, "input_tokens": tokens, "output_tokens": output}

    def _request(self, call: Call, target: Target) -> Mapping[str, object]:
        """What would be sent, as far as no credential has to be fetched for it."""
        bound = self.pipeline.attempts.providers[target.provider]
        if bound.can.direct is not None:
            return {"lane": "direct", "model": target.model}
        sent, lane = self.pipeline.attempts.prepared(call, target, bound)
        headers = {**sent.headers, **bound.headers}
        if bound.can.credentials is not None or bound.can.signing is not None:
            headers["authorization"] = MASK
        return {
            "lane": "translate" if isinstance(lane, TranslateLane) else "relay",
            "method": sent.method,
            "url": masked_url(sent.url),
            "headers": {n: v if SHOWN.fullmatch(n) else MASK for n, v in headers.items()},
            "body": _body(sent),
            "dropped": list(sent.dropped),
            "further_calls": len(sent.then),
        }


def _with(kept: Principal, asked: Principal) -> Principal:
    """What is kept of a caller, but where the question says otherwise."""
    names = ("models", "providers", "regions")
    said = {name: value for name in names if (value := getattr(asked, name)) is not None}
    if asked.renamed:
        said["renamed"] = asked.renamed
    return replace(kept, **said)


def _caller(principal: Principal) -> dict[str, object]:
    """Who it is, and what it may use; None is all."""
    allowed = {
        name: None if (given := getattr(principal, name)) is None else sorted(given)
        for name in ("models", "providers", "regions")
    }
    who = {"tenant": principal.tenant, "key": principal.key_id}
    return {**who, **allowed, "renamed": dict(principal.renamed)}


def _budget(budget: Budget) -> dict[str, object]:
    found: dict[str, object] = msgspec.to_builtins(budget)
    return {**found, "amount_usd": f"{Decimal(budget.amount) / NANO:f}"}


def masked_url(url: str) -> str:
    parts = urlsplit(url)
    query = [(n, MASK if SECRET.search(n) else v) for n, v in parse_qsl(parts.query, True)]
    return urlunsplit(parts._replace(query=urlencode(query, safe="*")))


def _body(sent: UpstreamRequest) -> object:
    try:
        body: object = msgspec.json.decode(sent.body)
    except msgspec.DecodeError:
        return {"bytes": len(sent.body)}
    return body


def _named(targets: Sequence[Target], values: Sequence[float] | None) -> dict[str, float]:
    if values is None:
        return {}
    return {each.name: value for each, value in zip(targets, values, strict=True)}


def _output(call: Call) -> int:
    """Tokens that the client allows, or what is assumed of an answer."""
    for name in LIMITS:
        raw = call.head.fields.get(name)
        if raw is not None:
            try:
                limit = msgspec.json.decode(raw, type=int | None)
            except msgspec.DecodeError:
                continue
            if limit is not None:
                return limit
    return EXPECTED_OUTPUT


def _why(rows: Sequence[Mapping[str, Any]], chosen: Mapping[str, Any] | None) -> str:
    if chosen is None:
        return "no guard admits any candidate"
    passed = [str(row["target"]) for row in rows[: rows.index(chosen)]]
    if passed:
        return f"the guards pass over {', '.join(passed)}"
    if len(rows) == 1:
        return "it is the only candidate"
    if any(row["preference"] < chosen["preference"] for row in rows) and chosen["score"] is None:
        return "scorers prefer it to all others"
    return "the strategy puts it first among those that are preferred alike"

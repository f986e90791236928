"""``GET /admin/v1/limits``: what is left of the limits of a tenant or a key. Takes nothing."""

from collections.abc import Iterator, Mapping
from urllib.parse import quote

import llm_gateway_api as gw
import msgspec

from llm_gateway_limit_rate.claims import UNITS
from llm_gateway_limit_rate.rules import Meter, Rule, Rules
from llm_gateway_limit_rate.settings import RateLimitSettings

METERS: Mapping[str, Meter] = {
    "requests_per_minute": "requests",
    "tokens_per_minute": "tokens",
    "max_concurrent": "concurrency",
}


class Limits:
    """Who asks names the limits, as the store of tenants and keys has them; those that the
    settings give to every key are known here."""

    def __init__(
        self, settings: RateLimitSettings, state: gw.StateBackend, inside: gw.Inside
    ) -> None:
        self._settings = settings
        self._state = state
        self._inside = inside

    async def __call__(self, request: gw.EndpointRequest) -> gw.EndpointResponse:
        query = request.query
        level, owner = query.get("level", ""), query.get("owner", "")
        if level not in ("tenant", "key") or not owner:
            raise gw.MalformedBodyError("Name a `level` (tenant or key) and its `owner`.")
        await self._permit(request.arrival, level, owner)
        limits = tuple(_limits(level, query))
        rows = [await self._row(*each) for each in self._rules(level, owner, limits)]
        return gw.EndpointResponse(200, msgspec.json.encode({"rows": rows}))

    async def _permit(self, arrival: gw.Arrival, level: str, owner: str) -> None:
        """A tenant's key sees its tenant, and the keys that it is shown where keys are kept."""
        caller = arrival.principal
        own = (("tenant", caller.tenant), ("key", caller.key_id))
        if caller.tenant is None or (level, owner) in own:
            return
        try:
            if level == "key":
                await self._inside(arrival, "GET", f"/admin/v1/keys/{quote(owner, safe='')}")
                return
        except gw.GatewayError as error:
            if error.status >= 500:
                raise
        raise gw.PermissionDeniedError(
            "A tenant's key sees the limits of its tenant and of that tenant's keys."
        )

    def _rules(
        self, level: str, owner: str, limits: tuple[gw.Limit, ...]
    ) -> Iterator[tuple[Rule, gw.Take, str]]:
        """Each rule with what it takes, and whose it is: the owner's ``own``, or ``all`` keys'."""
        principal = gw.Principal(owner, owner, limits=limits)
        known = Rules.of(self._settings, principal, None, "")
        for place, (rule, take) in enumerate(zip(known.rules, known.fixed, strict=True)):
            if place < len(limits) or level == "key":
                yield rule, take, "own" if place < len(limits) else "all"

    async def _row(self, rule: Rule, take: gw.Take, source: str) -> dict[str, object]:
        used = await self._used(rule, take)
        return {
            "source": source,
            "meter": rule.meter,
            "unit": UNITS[rule.meter],
            "amount": rule.amount,
            "burst": rule.burst,
            "used": used,
            "left": max(0, rule.burst - used),
        }

    async def _used(self, rule: Rule, take: gw.Take) -> int:
        """Of a bucket what has not refilled yet; it may hold more than it lets in."""
        if rule.amount <= 0:
            return rule.burst
        if rule.meter == "concurrency":
            return (await self._state.used([rule.key]))[0]
        answer = await self._state.take([msgspec.structs.replace(take, amount=0)])
        return rule.burst - answer.remaining[0]


def _limits(level: str, query: Mapping[str, str]) -> Iterator[gw.Limit]:
    burst = whole(query, "burst_size")
    for name, meter in METERS.items():
        if (amount := whole(query, name)) is not None:
            yield gw.Limit(level, meter, amount, burst if meter == "requests" else None)


def whole(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name, "")
    if text and not (text.isascii() and text.isdecimal()):
        raise gw.MalformedBodyError(f"{name} must be a whole number.", param=name)
    return int(text[:18]) if text else None

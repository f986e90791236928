"""Keeps a caller's traffic in its regions. Fails closed: a deployment without one is in none."""

from collections.abc import Collection, Iterable

import llm_gateway_api as gw


class Residency:
    """Meets `RoutingFilter`."""

    def reads(self) -> frozenset[str]:
        return frozenset({"arrival"})

    def applies(self, asked: gw.Asked) -> bool:
        return asked.arrival.principal.regions is not None

    def keep(self, asked: gw.Asked, candidate: gw.Target) -> str | None:
        allowed = asked.arrival.principal.regions
        if allowed is None:
            return None
        region = candidate.region
        if region is None:
            return "it has no region, and the caller is bound to some"
        if within(region, allowed):
            return None
        return f"its region {region} is none of the caller's"


def within(region: str, allowed: Iterable[str]) -> bool:
    """Whether `region` is one of those or continues one of them."""
    return any(region == each or region.startswith(f"{each}-") for each in allowed)


def unserved(regions: Iterable[str], there: Collection[str]) -> list[str]:
    """Those of `regions` in which nothing of what is `there` lies."""
    return [each for each in regions if not any(within(one, (each,)) for one in there)]


def warning(regions: Collection[str] | None, there: Collection[str]) -> str | None:
    """What to tell who binds a caller to `regions`; a deployment may well be made later."""
    missing = unserved(regions or (), there)
    if not missing:
        return None
    known = f" (there are {', '.join(sorted(there))})" if there else " (none has a region)"
    text = f"No deployment is in the region {', '.join(missing)}{known}"
    if len(missing) == len(regions or ()):
        text += "; every request is refused until there is one"
    return f"{text}."


_: type[gw.RoutingFilter] = Residency
__: type[gw.SupportsApplies] = Residency
___: type[gw.SupportsReads] = Residency

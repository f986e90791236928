"""Keeps a caller's traffic in its regions. Fails closed: a deployment without one is in none."""

import llm_gateway_api as gw


class Residency:
    """Meets `RoutingFilter`."""

    def applies(self, asked: gw.Asked) -> bool:
        return asked.arrival.principal.regions is not None

    def keep(self, asked: gw.Asked, candidate: gw.Target) -> str | None:
        allowed = asked.arrival.principal.regions
        if allowed is None:
            return None
        region = candidate.region
        if region is None:
            return "it has no region, and the caller is bound to some"
        if region in allowed or any(region.startswith(f"{each}-") for each in allowed):
            return None
        return f"its region {region} is none of the caller's"


_: type[gw.RoutingFilter] = Residency
__: type[gw.SupportsApplies] = Residency

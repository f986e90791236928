"""What vendors list now, beside what the gateway serves of it and knows a price of."""

import asyncio
from collections.abc import Mapping

from llm_gateway_api import GatewayError, Listing, Prices, Target, Targets


async def offered(
    listing: Listing, targets: Targets, prices: Prices | None, wanted: str | None
) -> Mapping[str, object]:
    """Of one provider or of all that have a list; who does not answer is told with the reason.

    Raises:
        GatewayError: the one provider that was asked for has no list, or did not answer.
    """
    if wanted is not None:
        return {"rows": await _rows(listing, targets, prices, wanted), "failed": {}}
    names = listing.providers
    found = await asyncio.gather(
        *(_rows(listing, targets, prices, each) for each in names), return_exceptions=True
    )
    rows: list[Mapping[str, object]] = []
    failed = {}
    for name, each in zip(names, found, strict=True):
        if isinstance(each, GatewayError):
            failed[name] = each.message
        elif isinstance(each, BaseException):
            raise each
        else:
            rows += each
    return {"rows": rows, "failed": failed}


async def _rows(
    listing: Listing, targets: Targets, prices: Prices | None, provider: str
) -> list[Mapping[str, object]]:
    served = {each.name for each in targets.deployments()}
    rows: list[Mapping[str, object]] = []
    for info in sorted(await listing(provider), key=lambda each: each.id):
        target = Target(provider, info.id)
        rows.append(
            {
                "provider": provider,
                "model": info.id,
                "context_window": info.context_window,
                "served": target.name in served,
                "priced": prices is not None and prices.price(target) is not None,
            }
        )
    return rows

"""What other plugins know, asked through their own routes with the key of who looks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import llm_gateway_api as gw
import msgspec

API = "/admin/v1"
# Which package brings a route, for who has not installed it.
PACKAGES = {
    "cost": "llm-gateway-ledger-store",
    "token-usage": "llm-gateway-ledger-store",
    "latency": "llm-gateway-ledger-store",
    "backend-health": "llm-gateway-routing-health",
    "routing": "llm-gateway-endpoint-routing",
    "explain": "llm-gateway-endpoint-routing",
    "cache": "llm-gateway-admin-cache",
    "budgets": "llm-gateway-limit-budget",
    "quotas": "llm-gateway-limit-budget",
    "limits": "llm-gateway-limit-rate",
    "keys": "llm-gateway-filter-identity",
    "tenants": "llm-gateway-filter-identity",
    "audit": "llm-gateway-audit-log",
}


@dataclass(frozen=True, slots=True)
class Part:
    """What a page shows of one route: its answer, or the package that is missing, or what is
    wrong. One part that fails leaves the others of its page alone."""

    value: Any = None
    package: str | None = None
    problem: str | None = None
    param: str | None = None

    @property
    def good(self) -> bool:
        return self.package is None and self.problem is None


class Asking:
    """For one visit: `arrival` carries the key of its session."""

    def __init__(self, inside: gw.Inside, arrival: gw.Arrival) -> None:
        self._inside = inside
        self._arrival = arrival

    async def get(self, path: str, **query: object) -> Part:
        """The answer to GET; what is None or empty is not asked."""
        asked = {name: str(value) for name, value in query.items() if value not in (None, "")}
        return await self._ask("GET", path, asked, b"")

    async def send(
        self, method: str, path: str, document: object = None, query: Mapping[str, str] = gw.NOTHING
    ) -> Part:
        body = b"" if document is None else msgspec.json.encode(document)
        return await self._ask(method, path, query, body)

    async def _ask(self, method: str, path: str, query: Mapping[str, str], body: bytes) -> Part:
        full = f"{API}/{path}"
        if not self._inside.brought(method, full):
            return Part(package=PACKAGES[path.partition("/")[0]])
        try:
            answer = await self._inside(self._arrival, method, full, query, body)
        except gw.GatewayError as error:
            return Part(problem=str(error), param=error.param)
        return Part(msgspec.json.decode(answer.body))

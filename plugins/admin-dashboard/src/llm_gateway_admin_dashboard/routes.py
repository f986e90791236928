"""The table of pages, and which of them a path means."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote

import llm_gateway_api as gw

from llm_gateway_admin_dashboard.visits import Visit


@dataclass(frozen=True, slots=True)
class Route:
    """A page or a form below the root. `pattern` may hold ``{name}`` for one part; a key of a
    tenant gets only what is for `tenants`, which shows that tenant alone."""

    method: Literal["GET", "POST"]
    pattern: str
    handler: Callable[[Visit], Awaitable[gw.EndpointResponse]]
    title: str = ""
    tenants: bool = False


def found(routes: Sequence[Route], method: str, path: str) -> tuple[Route, Mapping[str, str]]:
    parts = path.split("/")
    for route in routes:
        wanted = route.pattern.split("/")
        if route.method != ("GET" if method == "HEAD" else method) or len(wanted) != len(parts):
            continue
        pairs = list(zip(wanted, parts, strict=True))
        if all(want == part or want.startswith("{") for want, part in pairs):
            return route, {w[1:-1]: unquote(p) for w, p in pairs if w.startswith("{")}
    raise gw.NotFoundError("There is no such page.")

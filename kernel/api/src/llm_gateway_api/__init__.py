"""What a plugin may import. Nothing here imports the server; names load when first used.

Lazy, so that a module which only declares commands costs the command line next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llm_gateway_api.attempts import *
    from llm_gateway_api.backing import *
    from llm_gateway_api.breaker import Breaker as Breaker
    from llm_gateway_api.caches import *
    from llm_gateway_api.claims import *
    from llm_gateway_api.contracts import *
    from llm_gateway_api.deltas import *
    from llm_gateway_api.digests import *
    from llm_gateway_api.endpoints import *
    from llm_gateway_api.errors import *
    from llm_gateway_api.events import *
    from llm_gateway_api.explaining import *
    from llm_gateway_api.fetching import *
    from llm_gateway_api.filtering import *
    from llm_gateway_api.health import *
    from llm_gateway_api.hookspecs import hookimpl as hookimpl
    from llm_gateway_api.jsonbody import replaced as replaced
    from llm_gateway_api.jsonbody import top_level as top_level
    from llm_gateway_api.listing import *
    from llm_gateway_api.logins import *
    from llm_gateway_api.looking import *
    from llm_gateway_api.metrics import *
    from llm_gateway_api.opaque import *
    from llm_gateway_api.pricing import *
    from llm_gateway_api.reading import *
    from llm_gateway_api.requests import *
    from llm_gateway_api.routing import *
    from llm_gateway_api.services import *
    from llm_gateway_api.settings import *
    from llm_gateway_api.signing import *
    from llm_gateway_api.specs import *
    from llm_gateway_api.sse import *
    from llm_gateway_api.tenantdata import *
    from llm_gateway_api.tracing import *
    from llm_gateway_api.values import *

__version__ = "0.1.0"

# In the order in which they are asked for a name: cheap ones first.
_MODULES = (
    "hookspecs",
    "specs",
    "errors",
    "sse",
    "requests",
    "events",
    "values",
    "routing",
    "metrics",
    "jsonbody",
    "reading",
    "opaque",
    "caches",
    "contracts",
    "filtering",
    "attempts",
    "endpoints",
    "backing",
    "pricing",
    "claims",
    "fetching",
    "explaining",
    "listing",
    "health",
    "looking",
    "tracing",
    "signing",
    "tenantdata",
    "services",
    "settings",
    "logins",
    "breaker",
    "deltas",
    "digests",
)


def __getattr__(name: str) -> object:
    if not name.startswith("_"):
        for module in _MODULES:
            home = import_module(f"{__name__}.{module}")
            if name in vars(home):
                globals()[name] = vars(home)[name]
                return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
